"""How much a text looks like instructions that somebody planted: a label, not a defence.

The defence is the fence: recalled text is data, whatever it says. This score says which
low-trust memories a person should look at before they are recalled at all, and flags the
user's own. It counts signs of a few families, each with a weight, and joins them as
independent chances, 1 - prod(1 - w): overriding what was told before, asking for the
prompt or a secret, another persona without rules, orders about *your answer*, hiding from
the user, sending data somewhere, marks of a chat's own syntax, encoded blobs and invisible
letters, code to be slipped in. English and Norwegian. What carries no sign (a bare question
that was planted) cannot be told from an honest one, and is not.
"""

# ruff: noqa: E501 - patterns are easier to read whole
from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

THRESHOLD = 0.5
"""From here on a text is called planted."""

_MOST = 20_000  # characters that are looked at


@dataclass(frozen=True)
class Label:
    """``score`` 0..1 and the families whose signs were found."""

    score: float
    signs: tuple[str, ...] = ()

    @property
    def planted(self) -> bool:
        return self.score >= THRESHOLD


@dataclass(frozen=True)
class _Sign:
    family: str
    weight: float
    pattern: re.Pattern[str]


_RULES = (
    r"(?:instructions?|instrucitons?|rules?|prompts?|guidelines?|directives?|directions|commands?|"
    r"programming|training|constraints|restrictions|policies|orders|safeguards|filters)"
)
_BEFORE = r"(?:previous|prior|above|earlier|preceding|foregoing|original|initial|existing|system)"
_REPLY = (
    r"(?:response|reply|answer|message|output|completion|implementation|elucidation|"
    r"explanation|solution|summary|text you write)s?"
)
_ANSWER = rf"(?:your|the|this|each|every)\s+(?:\w+\s+)?{_REPLY}"
_NO_BOUNDS = (
    r"(?:restrict\w*|limit\w*|filter\w*|censor\w*|rules?|ethic\w*|moral\w*|guidelines?|polic\w*|"
    r"boundar\w*|constraints?|safety)"
)


def _signs(family: str, *signs: tuple[float, str]) -> list[_Sign]:
    return [_Sign(family, weight, re.compile(text, re.IGNORECASE)) for weight, text in signs]


_SIGNS: tuple[_Sign, ...] = (
    *_signs(
        "override",
        (
            0.8,
            r"\b(?:ignor\w*|disregard\w*|forget\w*|forgotten|overrid\w*|bypass\w*|neglect|skip|"
            r"discard|drop|abandon|unlearn|violate|break)\s+(?:\w+\s+){0,4}?"
            rf"(?:{_BEFORE}\s+(?:\w+\s+)?{_RULES}|your\s+(?:\w+\s+)?{_RULES}|"
            rf"(?:all|any)\s+(?:\w+\s+){{0,3}}?{_RULES}|"
            rf"{_RULES}\s+(?:\w+\s+){{0,2}}?(?:above|before|earlier|you))",
        ),
        (
            0.7,
            r"\b(?:ignore|disregard|forget)\s+(?:\w+\s+){0,2}?(?:everything|anything|all|what)\s+"
            r"(?:\w+\s+){0,3}?(?:above|before|told|said|previous\w*|earlier|learned|know)",
        ),
        (
            0.7,
            r"\b(?:do not|don'?t|never|stop)\s+(?:listen|follow|obey|comply|adhere)\w*\s+"
            rf"(?:to\s+|with\s+)?(?:\w+\s+){{0,3}}?(?:{_BEFORE}|{_RULES}|user)",
        ),
        (
            0.45,
            rf"\b(?:new|updated|real|actual|special)\s+(?:system\s+)?{_RULES}\s*(?::|are|from|"
            r"follow)",
        ),
        (
            0.7,
            r"\b(?:ignorer|glem|overse|se bort fra|tilsidesett)\s+(?:\w+\s+){0,4}?"
            r"(?:instruks\w*|regl\w*|beskjed\w*|ordre\w*|retningslinj\w*|alt\s+(?:du|som|over))",
        ),
        (
            0.6,
            r"\b(?:start(?:ing)?|begin(?:ning)?)\s+(?:over\s+)?from (?:now|here) on\b|"
            r"\bfrom (?:now|this (?:moment|point)) on(?:wards?)?,?\s+(?:you|your|always|answer|"
            r"respond|only|never)|\bfra nå av\s+(?:skal|må|er|svarer?)\s+du\b",
        ),
    ),
    *_signs(
        "prompt",
        (
            0.7,
            r"\b(?:repeat|reveal|print|output|show|tell|give|display|leak|list|write|recite|copy|"
            r"spell|share|disclose|describe|translate|summari[sz]e)\s+(?:\w+\s+){0,3}?"
            rf"(?:your|{_BEFORE}|hidden|secret|the system)\s+(?:\w+\s+)?"
            r"(?:prompt|instructions?|rules|system message|directives?|guidelines)",
        ),
        (
            0.5,
            r"\b(?:what (?:is|are|was|were)|hva (?:er|var))\s+(?:your|the|din|dine)\s+(?:\w+\s+)?"
            r"(?:(?:system|initial|original|hidden|secret)\s+(?:prompt|instructions?|message|"
            r"rules)|hemmelige?\s+\w+)",
        ),
        (
            0.6,
            r"\b(?:secret|hidden|forbidden)\s+(?:word|key|code|phrase|password)\b.{0,80}\b(?:you|"
            r"your|tell|reveal)|\btold (?:you )?(?:not|never) to (?:reveal|say|tell|share)",
        ),
        (0.3, r"what is the (?:secret )?password\b|the instructions so far"),
        (
            0.6,
            r"\b(?:confirm|acknowledge|comply|respond|reply)\s+(?:\w+\s+){0,3}?by (?:saying|writing)|"
            r"\b(?:start|begin|prefix|open|preface|end|finish|conclude)\s+(?:\w+\s+){0,2}?"
            r"your (?:answer|response|reply|message|output) (?:with|by)",
        ),
    ),
    *_signs(
        "persona",
        (0.7, r"\bDAN\b.{0,200}\b(?:anything|mode|rules|AI)|\bdo anything now\b"),
        (
            0.7,
            r"\b(?:developer|god|jailbr\w+|unrestricted|sudo|(?-i:[A-Z]{3,14})) mode\s+"
            r"(?:is\s+)?(?:now\s+)?(?:enabled|activated|on\b|engaged)|\bturned on (?-i:[A-Z]{2,14}) mode",
        ),
        (
            0.6,
            r"\b(?:act|behave|respond|pretend|play|roleplay|answer)\w*\s+(?:\w+\s+){0,4}?"
            r"(?:as|like|to be)\s+(?:\w+\W+){0,12}?(?:without|no|not bound|free (?:of|from)|unbound|"
            rf"devoid of)\s+(?:\w+\s+){{0,3}}?{_NO_BOUNDS}",
        ),
        (
            0.6,
            rf"\b(?:AI|assistant|model|chatbot|bot)\s+(?:\w+\s+){{0,3}}?(?:without|with no|free of)"
            rf"\s+(?:any\s+|all\s+)?{_NO_BOUNDS}",
        ),
        (
            0.6,
            r"\b(?:you (?:are|have been)|they are|you're)\s+(?:now\s+)?(?:\w+\s+){0,3}?(?:no longer|"
            r"not|free from|freed from|broken free|unbound|liberated)\s+(?:\w+\s+){0,4}?"
            rf"(?:bound|limited|restricted|confin\w+|subject|{_NO_BOUNDS})",
        ),
        (0.6, r"\bstay in character\b|\bbreak(?:ing)? character\b"),
        (0.5, r"\bpretend\s+(?:\w+\s+){0,4}?(?:forgot\w*|no rules|never told|not an ai)"),
        (0.35, r"\b(?:you are now|you will now be|du er nå|fra nå av er du)\b"),
        (0.3, r"\bas an (?:AI|artificial intelligence)\b.{0,60}\b(?:programmed|trained)\b"),
    ),
    *_signs(
        "your answer",
        (
            0.6,
            r"\b(?:add|append|insert|include|integrate|incorporate|embed|introduce|inject|weave|"
            r"slip|put|place|attach|augment|enhance|modify|alter|change|adjust|supplement|extend|"
            r"embellish|amend|tweak|infuse|sprinkle)\w*\b.{1,160}?"
            r"\b(?:to|in|into|of|within|at the end of|with)\s+your\s+(?:\w+\s+)?"
            rf"{_REPLY}\b",
        ),
        (
            0.6,
            rf"\b(?:augment|enhance|modify|alter|change|adjust|supplement|extend|end|spice up)\s+"
            rf"your\s+(?:\w+\s+)?{_REPLY}\s+(?:to|with|by)\b",
        ),
        (
            0.55,
            rf"\bin\s+your\s+(?:\w+\s+)?{_REPLY},?\s+(?:mention|suggest|recommend|tease|hint|include|"
            r"add|use|promote|advertise|encourage|tell|ask|invite|link|refer|claim|say|state)\b",
        ),
        (
            0.6,
            r"\b(?:replace|remove|scramble|rearrange|jumble|misspell|substitute|convert|encode|"
            r"reverse|anagram|group|combine|omit|swap|shuffle|delete|capitali[sz]e|mix|render|"
            r"encrypt|obfuscate|disguise|transform)\w*\b.{0,80}?\b(?:letters?|vowels?|"
            r"consonants?|words?|spaces?|characters?|typos?|message)\b.{0,60}?\b(?:your|the)\s+"
            rf"{_REPLY}\b",
        ),
        (
            0.55,
            rf"\b(?:remove|scramble|rearrange|jumble|misspell|encode|reverse|anagram|encrypt|render|"
            rf"obfuscate)\w*\s+(?:\w+\W+){{0,8}}?your\s+{_REPLY}",
        ),
        (
            0.55,
            rf"\b(?:provide|give|write|deliver|present|render|display|encode|return|send|express)\s+"
            rf"your\s+(?:\w+\s+)?{_REPLY}\s+(?:\w+\W+){{0,3}}?(?:using|without|encod\w+|anagram\w*|"
            r"misspell\w*|backwards|in reverse|scrambl\w*|substitut\w*|only in|jumbl\w*|"
            r"(?:intentional|random|deliberate)\s+\w+)",
        ),
        (
            0.55,
            r"\b(?:base ?(?:16|32|64|85)|rot-?13|morse(?: code)?|hexadecimal|binary|leet(?:speak)?|"
            r"caesar|atbash|pig latin|emoji(?:s| cipher)?)\b.{0,60}?\b(?:your|the)\s+"
            rf"(?:{_REPLY}|encoding)|\b{_REPLY}\b.{{0,40}}?\b(?:base ?(?:16|32|64|85)|rot-?13|"
            r"morse(?: code)?|hexadecimal|leet(?:speak)?|caesar|atbash|pig latin)\b",
        ),
        (
            0.55,
            r"\b(?:use|introduce|insert|employ)\s+(?:\w+\W+){0,6}?(?:typos?|anagrams?|misspellings?|"
            r"symbols?|numbers|substitution|emojis)\b.{0,60}?\byour\s+"
            rf"{_REPLY}",
        ),
        (
            0.5,
            r"\b(?:every|each|any|all)\s+(?:future\s+)?(?:answer|reply|response|conversation|"
            r"question)s?\b.{0,60}?\b(?:recommend|mention|include|say|add|link|append|promote)\b|"
            r"\b(?:always|never)\s+(?:recommend|mention|tell|answer|respond|reply|refuse|say|"
            r"suggest|promote)\b.{0,80}?\b(?:user|whenever|when (?:asked|the|any|some))\b",
        ),
        (
            0.5,
            r"\b(?:when(?:ever)?|if|each time|every time)\s+(?:the|a|any|this|my)\s+(?:user|human|"
            r"person|customer|owner)\s+(?:ask|say|mention|want|request)\w*\b.{0,120}?\b(?:say|reply|"
            r"respond|answer|recommend|tell|send|claim|insist|refuse|direct)\b",
        ),
        (
            0.5,
            r"(?:^|[.!?:]\s+)(?:please\s+)?[a-z]{2,14}\b[^.?!\n]{1,160}\b(?:in|into|to|of|from|within|"
            r"with|for|throughout)\s+your\s+(?:\w+\s+)?(?:response|reply|answer)s?\b",
        ),
        (0.5, r"(?:^|[.!?]\s+)in your (?:\w+ )?(?:response|reply|answer),?\s+[a-z]{2,}"),
        (
            0.5,
            r"(?:^|[.!?]\s+)(?:replace|substitute|scramble|swap|remove|reverse|misspell|shift|jumble|"
            r"rearrange|rotate)\s+(?:(?:every|each|all|the|any)\s+)?(?:\w+\s+)?"
            r"(?:letters?|vowels?|consonants?|spaces|words?)\b",
        ),
        (
            0.5,
            rf"\btranslate\s+your\s+{_REPLY}\b|\byour\s+{_REPLY}\s+(?:only\s+|entirely\s+)?in(?:to)?\s+"
            r"(?:french|german|spanish|italian|portuguese|dutch|swedish|danish|norwegian|russian|"
            r"polish|turkish|arabic|hebrew|hindi|chinese|japanese|korean|latin|greek|esperanto|"
            r"emojis?|reverse|code|rhymes?|uppercase|capitals|all caps)",
        ),
        (
            0.6,
            r"\b(?:legg til|ta med|sett inn|flett inn|nevn|skriv|bruk|bytt ut|fjern|stokk om)\b"
            r".{1,120}?\b(?:i|til|fra)\s+svaret\s+ditt\b|\bi svaret ditt\s+(?:skal|må|bør)\b|"
            r"\bsvar(?:\s+\w+)?\s+alltid\s+(?:med|at)\b|\bnår (?:brukeren|noen) spør\b",
        ),
    ),
    *_signs(
        "secrecy",
        (
            0.55,
            r"\b(?:do not|don'?t|never|without)\s+(?:tell|inform|alert|warn|notify|mention (?:this|it|"
            r"that)|let|telling|informing|alerting|warning|notifying|letting)\w*\s+"
            r"(?:\w+\s+){0,3}?(?:user|human|anyone|anybody|them|owner|to the user)",
        ),
        (0.5, r"\bavoid (?:detection|suspicion)|\bwithout (?:raising|arousing) suspicion"),
        (
            0.55,
            r"\b(?:ikke|aldri)\s+(?:fortell|si|nevn|varsle)\w*\s+(?:\w+\s+){0,3}?(?:bruker\w*|noen|"
            r"eier\w*)|\buten å (?:si|fortelle|nevne)\s+(?:det\s+)?(?:til\s+)?bruker",
        ),
    ),
    *_signs(
        "exfiltration",
        (
            0.7,
            r"\b(?:send|post|forward|upload|transmit|e-?mail|submit|leak|exfiltrate|report|"
            r"deliver|sender|last opp|videresend)\b[^\[\]]{0,100}?\b(?:password|secret|api key|keys|"
            r"token|conversation|chat|history|memor(?:y|ies)|credentials|notes|data|contents?|"
            r"files?|passord|samtale\w*|minne\w*|nøkkel\w*)\b[^\[\]]{0,100}?(?:https?://|www\.|\b[\w.-]+@"
            r"[\w-]+\.|\b\w+\.(?:com|net|org|xyz|io|ru|cn|no)\b)",
        ),
        (0.6, r"!\[[^\]]{0,80}\]\(\s*https?://[^)\s]{1,200}[?&][^)\s]{0,80}(?:=\s*[{<\[]|=\))"),
        (
            0.55,
            r"\b(?:append|encode|attach|include|put)\b.{0,80}?\b(?:conversation|history|memor\w+|"
            r"secret|password|user'?s)\b.{0,60}?\b(?:url|link|query|image|address)\b",
        ),
    ),
    *_signs(
        "chat syntax",
        (0.6, r"<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header)"),
        (0.6, r"\[/?INST\]|<</?SYS>>|</?(?:system|assistant|human|instructions?)>"),
        (
            0.5,
            r"(?m)^\s*#{2,}\s*(?:system|instruction|new instruction|assistant)s?\b.{0,20}:?\s*$",
        ),
        (0.4, r"(?m)^\s*(?:system|assistant|developer)\s*(?:message|prompt)?\s*:\s*\S"),
        (
            0.55,
            r"(?:%{3,}|-{3,}|={3,}|#{3,}|\*{3,})\s*(?:end|stop|begin|start)\b[^\n]{0,60}"
            r"(?:%{3,}|-{3,}|={3,}|#{3,}|\*{3,})\s*(?=\n+\s*\w)(?=[\s\S]{0,200}\b(?:you|your)\b)",
        ),
        (
            0.5,
            r"\(end of [0-9a-f]{6,}\)|\bend of (?:data|notes|memor(?:y|ies)|context)\b\W{0,3}\n",
        ),
        (0.4, r"\bSYSTEM\s+(?:OVERRIDE|NOTICE|UPDATE|ALERT)\b|\bIMPORTANT\s+INSTRUCTION"),
    ),
    *_signs(
        "hidden text",
        (0.8, "[\U000e0020-\U000e007f]{4,}"),
        (0.5, "(?:[\u200b-\u200f\u2060-\u2064]\\w?){4,}|[\u202a-\u202e\u2066-\u2069]"),
        (
            0.6,
            r"\b(?:decode|decrypt|dekod)\w*\b.{0,80}?\b(?:follow|execute|run|obey|do what|utfør|"
            r"følg)\b|\b(?:base64|rot13|hex)\b.{0,40}?\b(?:execute|obey|follow the)\b",
        ),
    ),
    *_signs(
        "slipped-in code",
        (
            0.4,
            r"\b(?:follow\w*|subsequent|below|next|given)\s+(?:\w+\s+){0,2}?(?:code|snippet|script|"
            r"function|program)(?:\s+(?:snippet|block|section|excerpt|segment|fragment|piece|part))?"
            rf"\b.{{0,60}}?\b(?:your|to|into|in|within)\b.{{0,30}}?\b(?:{_REPLY}|code|it)\b|"
            rf"\b(?:your\s+{_REPLY}|your code)\b.{{0,60}}?(?:follow|subsequent|below)\w*\s+"
            r"(?:\w+\s+)?(?:code|snippet|script)",
        ),
        (
            0.4,
            r"\b(?:introduc|includ|incorporat|insert|embed|integrat|add|append|put)\w*\s+"
            r"(?:\w+\s+){0,3}?(?:follow\w*|subsequent|below|next)\s+(?:\w+\s+){0,2}?"
            r"(?:code|snippet|script)",
        ),
        (
            0.4,
            r"\bos\.(?:system|dup2|popen)\s*\(|\bsubprocess\.\w+|\bsocket\.(?:socket|AF_INET)|"
            r"\brequests\.post\s*\(|\bcurl\s+-|/bin/sh|\brm\s+-rf|\bpexpect\b|\beval\s*\(|"
            r"\bpyperclip\b|\bkeyboard\.|\bpynput\b|\bwhile True:|\bctypes\b|\bshutil\.rmtree",
        ),
    ),
)

_HINTS = re.compile(
    r"ignor|disregard|forg[eo]t|overrid|bypass|neglect|instruction|prompt|\brules?\b|your|listen|"
    r"obey|letter|vowel|replac|\bmode\b|anything now|\bDAN\b|password|secret|without|user|detection|system|assistant|"
    r"send|post|https?:|<\||\[/?INST|</?|decode|character|pretend|now on|%%%|===|---|###|\*\*\*|"
    r"\bcode\b|snippet|os\.|curl|svar|brukeren|glem|overse|instruks|noen|fra nå|end of|[\u200b-\u200f"
    r"\u2060-\u2069\u202a-\u202e\U000e0020-\U000e007f]",
    re.IGNORECASE,
)


def label(text: str) -> Label:
    """The label of ``text``; only its first 20,000 characters are looked at."""
    text = text[:_MOST]
    if not _HINTS.search(text):
        return Label(0.0)
    strongest: dict[str, list[float]] = {}
    for sign in _SIGNS:
        if sign.pattern.search(text):
            strongest.setdefault(sign.family, []).append(sign.weight)
    left = 1.0
    for weight in _joined(strongest.values()):
        left *= 1.0 - weight
    return Label(round(1.0 - left, 4), tuple(sorted(strongest)))


def _joined(families: Iterable[list[float]]) -> Iterable[float]:
    """Signs of one family say much the same: beside the strongest the others count half."""
    for weights in families:
        first, *others = sorted(weights, reverse=True)
        yield first
        yield from (weight / 2 for weight in others)
