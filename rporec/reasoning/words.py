"""Everyday words: they never count as naming an item, even where some title holds them.

Holds the words of our own phrasings (`rporec.reasoning.compose`) and the most frequent English ones.
"""

_TEXT = """
    a about above across add after again all almost already also although always am among an and another any
    anything appear appears are around as ask at available away back based basic be because been before being
    below besides best better between beyond big both bought brand brands brief bring brings browse but buy
    buyer buyers buying buys by came can category choice choose chose chosen clear close come comes common
    complement consistent could customer customers day did different do does done down each earlier early
    either else end enough especially even ever every everyday explore extra far few find first fit fits focus
    focused follow followed following follows for found four from full further general get give given gives go
    goes going good great had has have having he help her here high higher highest him his history how however
    i if in include includes including indicate indicates instead interest interested interests into is it
    item items its itself just keep keeps kept kind kinds know known last lately latest least less let like
    liked likely likes line list little long look looked looking looks lot low lower lowest made main mainly
    make makes making many may maybe me mean means mention middle might mix more most mostly move moved moves
    much must my named near need needed needs never new newest next no none nor not nothing now of off often
    old older on once one only open or order other others our out over own part past pattern patterns people
    perhaps pick picked picks place plain popular possible possibly practical preference preferences previous
    previously price priced prices probably product products purchase purchased purchases put quite range
    rather ready real recent recently related relevant remain remains repeat repeated return returned right
    said same saw say says second see seem seems seen several shall she short should show shows similar simple
    since so some someone something soon spend spends spent start stay stays step still strong such suggest
    suggests sure take taken takes tend tends than that the their them then there these they thing things
    think this those though thought three through thus time times title to today together too toward towards
    turn turned turns two type types under unknown until up upon us use used useful user users uses using
    usual usually various very want wanted wants was way we week well went were what whatever when where
    whether which while who whole whose why will with within without word words work would year yes yet you
    your
"""

EVERYDAY = frozenset(_TEXT.split())
