"""Words too common to search for, by language. A table: nothing here looks at documents."""

_ENGLISH = """a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to was
will with what how which who when where why does do did i my we our you your can should have has had am im me us would
could may might must been being from about so than too very just some any all get got s t re ve ll d m don doesn didn
isn aren won"""
_GERMAN = """der die das den dem des ein eine einen einem einer eines und oder aber als am an auf aus bei bin bis bist da dass daß
dein deine du durch er es für hat habe haben hatte ich ihr ihre im in ist ja kann können man mein meine mich mir mit
muss müssen nach nicht noch nur ob sein seine sich sie sind so soll sollte über um uns unser unsere unter vom von vor
war was wann warum welche welcher welches wenn wer werde werden wie wird wir wo zu zum zur gibt es sowie auch"""
_FRENCH = """le la les l un une des de du d et ou mais au aux avec ce ces cet cette c dans elle elles en est être eu il ils j je leur
leurs lui m ma me mes mon n ne nos notre nous on par pas pour qu que qui quoi quel quelle quels quelles quand où comment
combien pourquoi s sa se ses son sont sur t ta te tes toi ton tu vos votre vous y a ai as avons avez ont plus si peut
faut"""

STOP_WORDS: dict[str, frozenset[str]] = {
    "en": frozenset(_ENGLISH.split()),
    "de": frozenset(_GERMAN.split()),
    "fr": frozenset(_FRENCH.split()),
}
