"""Where rows come from: one adapter a kind of source, all behind `base.Source`. Adapters read; they judge no row."""
