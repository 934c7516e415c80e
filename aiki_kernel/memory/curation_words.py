"""Words that say little, in English and Norwegian: what the gate and the rules look for.

Kept short on purpose. A word belongs here when it says the same in every conversation; a word
that could be somebody's answer does not.
"""

from __future__ import annotations

from aiki_kernel.memory.lexical import FUNCTION_WORDS


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTION = _set(" ".join(FUNCTION_WORDS.values())) | _set(
    "i'm it's that's i'll i've i'd you're you've you'll you'd we're we've we'll they're he's she's "
    "there's what's how's who's let's don't doesn't didn't can't won't isn't aren't wasn't weren't "
    "im ive thats gonna wanna u r ur er'n har'n ikke't"
)

GREETING = _set(
    "hilsen mvh tilbake "
    "hi hello hey heya hiya howdy yo greetings morning afternoon evening hei hallo heisann "
    "hallaien "
    "heihei morn morna godmorgen god heipå"
)
FAREWELL = _set(
    "farvel tata cheerio xoxo klem "
    "bye goodbye byebye cya ya later soon night goodnight farewell hade hadet snakkes sees vises "
    "natta godnatt adjø senere"
)
THANKS = _set(
    "np thankyou tack kudos takke takket "
    "thanks thank thx ty tysm cheers appreciate appreciated grateful takk tusen takker hjertelig "
    "setter pris takknemlig"
)
ASSENT = _set(
    "grei grejt fair deal yup aye affirmative confirmed course naturally clearly precisely "
    "obviously "
    "sikkert opplagt absolutt definitivt selvsagt såklart bekreftet mhm "
    "ok okay okey k kk yes yeah yep yup yea ya no nope nah sure right alright alrighty fine agreed "
    "agree exactly absolutely definitely totally indeed true understood gotcha got noted roger "
    "correct great deal done ja jo nei neida joda ok okei greit fint javisst selvfølgelig enig "
    "akkurat nettopp stemmer riktig forstått skjønner notert mottatt avtale klart jepp"
)
PRAISE = _set(
    "clever beautiful gorgeous impressive incredible fab fabulous splendid magnificent "
    "hehe hihi wonderfully congrats congratulations bravo kewl dope lit fun funny "
    "imponerende gratulerer hurra morsomt artig vakkert knall rått dritbra topp genialt "
    "lovende interessant interesting "
    "good nice cool awesome amazing wonderful fantastic perfect excellent lovely brilliant super "
    "sweet neat wow whoa haha hahaha lol yay oh ah aw aww hmm mm mhm glad happy proud kind best "
    "bra flott supert topp kult konge nydelig fantastisk utmerket herlig perfekt hyggelig koselig "
    "oi jøss hæ haha ler deilig kjempebra kjempefint strålende"
)
COURTESY = _set(
    "pleased meet excuse pardon apologies bless luckily velbekomme gleder meg "
    "unnskyldning lei stress "
    "please sorry worries problem pleasure welcome help helps helped helpful luck lucky care enjoy "
    "hope anytime vær snill unnskyld beklager velkommen hjelp hjelpen hjalp lykke ønsker ønske "
    "håper bare hyggelig problem fare årsak ha det bra"
)
FILLER = _set(
    "thing bet mention forward looking hear makes make sense enough works course back "
    "mate buddy dude man guys friend tonight ahead keep rest stay safe ting høre orden "
    "null går grei hele hver hva kar venn videre mye nok til "
    "really very so much too lot lots all just well then now again here there also even still "
    "sounds sound looks look see talk catch chat speak around day weekend one everyone going doing "
    "been up anything everything things it's that's like bit little always means mean veldig så "
    "masse mye også igjen nå da altså dag kveld helg fin alt høres ut ser snakke prates alle "
    "sammen "
    "litt jo vel nok"
)
SOCIAL = GREETING | FAREWELL | THANKS | ASSENT | PRAISE | COURTESY
HOLLOW = SOCIAL | FILLER | FUNCTION
"""Words that a sentence may be made of without saying anything."""

REPEATING = _set(
    "sagt fortalt nevnt husket husker according memory memories recall recalled far stated "
    "earlier noted repeating "
    "repeated ifølge minnet minne vidt opplyste skrev wrote written notes notater "
    "said mentioned told remember remind reminder again earlier before already repeat once more "
    "fyi btw actually basically honestly anyway sa nevnte fortalte husk minner tidligere allerede "
    "gjentar forresten egentlig altså"
)
"""What people put around something that they say once more."""

NEGATION = _set(
    "not no never none nobody nothing without cannot can't don't doesn't didn't won't isn't aren't "
    "wasn't weren't haven't hasn't hadn't shouldn't wouldn't couldn't neither nor ikke aldri ingen "
    "ingenting uten verken hverken ikkje"
)

SUPPOSING = _set(
    "if might maybe perhaps would could wish want wants wanted hope planning plan plans "
    "considering "
    "thinking should imagine suppose used almost hvis kanskje ville kunne ønsker vil skulle håper "
    "planlegger vurderer tenker burde tenk pleide nesten dersom"
)
"""A sentence with one of these does not state what is so."""

BLAND = _set(
    "get gets got getting go goes going went gone make makes made making take takes took taking "
    "know knows knew think thinks thought say says said tell told want wants wanted need needs "
    "needed use used using come comes came look looks looked find found give gave feel feels felt "
    "keep kept let lets put try tried start started work works thing things stuff way ways time "
    "times day days people person someone something anything everything lot lots bit new old good "
    "great big small last next first many much really always never maybe today yesterday tomorrow "
    "would could should like love likes loved year years week weeks month months photo picture "
    "være blir ble får fikk gå går gikk gjør gjorde ta tar tok vet visste tror tenker sier sa vil "
    "trenger bruker komme kommer kom ser så finne fant gi ga føler holde ting måte tid tider dag "
    "dager folk noen noe alt ny nye gammel god bra stor liten siste neste første mange mye alltid "
    "hos kanskje i dag går morgen liker elsker år uke uker måned måneder bilde"
)
"""Words that make no tag."""

_MONTHS = (
    ("january", "jan", "januar"),
    ("february", "feb", "februar"),
    ("march", "mar", "mars"),
    ("april", "apr"),
    ("may", "mai"),
    ("june", "jun", "juni"),
    ("july", "jul", "juli"),
    ("august", "aug"),
    ("september", "sep", "sept"),
    ("october", "oct", "oktober", "okt"),
    ("november", "nov"),
    ("december", "dec", "desember", "des"),
)
MONTHS = {name: number for number, names in enumerate(_MONTHS, 1) for name in names}
DAYS = _set(
    "monday tuesday wednesday thursday friday saturday sunday mandag tirsdag onsdag torsdag fredag "
    "lørdag søndag"
)
RELATIVE = _set(
    "today tonight yesterday tomorrow just now currently recently earlier ago last next this week "
    "weekend morning afternoon evening month year idag igår imorgen nettopp nylig forrige neste "
    "siste denne uka uken helga helgen morges kveld natt måneden året"
)
"""Words whose meaning depends on the day on which they are said."""

PRONOUNS = _set(
    "it this that there he she they what which here i you we det dette den der han hun de "
    "hva som her jeg du vi man yes no ja nei today tomorrow"
)

SPEAKS = _set("said says lives lived works worked sa sier bor bodde jobber")

STIRRING = _set("so very really extremely absolutely super veldig så kjempe utrolig svært")
