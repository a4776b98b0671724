"""Which language a tag means: codes and names come in, one code of each goes out.

Files and tables name languages in several ways: sw and swa, fr, fra and fre, en-US,
Swahili. To see which sound of a file is meant, they must become one.
"""

import re

# ISO 639-1, ISO 639-2/T (and 639-3), where it differs 639-2/B, and the English name.
# Source: the ISO 639-2 code list of the Library of Congress, of which these are all the
# languages that have a code of two letters; names as they are usual.
_TABLE = """\
aa aar Afar
ab abk Abkhazian
ae ave Avestan
af afr Afrikaans
ak aka Akan
am amh Amharic
an arg Aragonese
ar ara Arabic
as asm Assamese
av ava Avaric
ay aym Aymara
az aze Azerbaijani
ba bak Bashkir
be bel Belarusian
bg bul Bulgarian
bh bih Bihari
bi bis Bislama
bm bam Bambara
bn ben Bengali
bo bod tib Tibetan
br bre Breton
bs bos Bosnian
ca cat Catalan
ce che Chechen
ch cha Chamorro
co cos Corsican
cr cre Cree
cs ces cze Czech
cu chu Church Slavic
cv chv Chuvash
cy cym wel Welsh
da dan Danish
de deu ger German
dv div Dhivehi
dz dzo Dzongkha
ee ewe Ewe
el ell gre Greek
en eng English
eo epo Esperanto
es spa Spanish
et est Estonian
eu eus baq Basque
fa fas per Persian
ff ful Fulah
fi fin Finnish
fj fij Fijian
fo fao Faroese
fr fra fre French
fy fry Western Frisian
ga gle Irish
gd gla Scottish Gaelic
gl glg Galician
gn grn Guarani
gu guj Gujarati
gv glv Manx
ha hau Hausa
he heb Hebrew
hi hin Hindi
ho hmo Hiri Motu
hr hrv Croatian
ht hat Haitian
hu hun Hungarian
hy hye arm Armenian
hz her Herero
ia ina Interlingua
id ind Indonesian
ie ile Interlingue
ig ibo Igbo
ii iii Sichuan Yi
ik ipk Inupiaq
io ido Ido
is isl ice Icelandic
it ita Italian
iu iku Inuktitut
ja jpn Japanese
jv jav Javanese
ka kat geo Georgian
kg kon Kongo
ki kik Kikuyu
kj kua Kuanyama
kk kaz Kazakh
kl kal Kalaallisut
km khm Khmer
kn kan Kannada
ko kor Korean
kr kau Kanuri
ks kas Kashmiri
ku kur Kurdish
kv kom Komi
kw cor Cornish
ky kir Kyrgyz
la lat Latin
lb ltz Luxembourgish
lg lug Ganda
li lim Limburgish
ln lin Lingala
lo lao Lao
lt lit Lithuanian
lu lub Luba-Katanga
lv lav Latvian
mg mlg Malagasy
mh mah Marshallese
mi mri mao Maori
mk mkd mac Macedonian
ml mal Malayalam
mn mon Mongolian
mr mar Marathi
ms msa may Malay
mt mlt Maltese
my mya bur Burmese
na nau Nauru
nb nob Norwegian Bokmål
nd nde North Ndebele
ne nep Nepali
ng ndo Ndonga
nl nld dut Dutch
nn nno Norwegian Nynorsk
no nor Norwegian
nr nbl South Ndebele
nv nav Navajo
ny nya Chichewa
oc oci Occitan
oj oji Ojibwa
om orm Oromo
or ori Oriya
os oss Ossetian
pa pan Punjabi
pi pli Pali
pl pol Polish
ps pus Pashto
pt por Portuguese
qu que Quechua
rm roh Romansh
rn run Rundi
ro ron rum Romanian
ru rus Russian
rw kin Kinyarwanda
sa san Sanskrit
sc srd Sardinian
sd snd Sindhi
se sme Northern Sami
sg sag Sango
si sin Sinhala
sk slk slo Slovak
sl slv Slovenian
sm smo Samoan
sn sna Shona
so som Somali
sq sqi alb Albanian
sr srp Serbian
ss ssw Swati
st sot Southern Sotho
su sun Sundanese
sv swe Swedish
sw swa Swahili
ta tam Tamil
te tel Telugu
tg tgk Tajik
th tha Thai
ti tir Tigrinya
tk tuk Turkmen
tl tgl Tagalog
tn tsn Tswana
to ton Tonga
tr tur Turkish
ts tso Tsonga
tt tat Tatar
tw twi Twi
ty tah Tahitian
ug uig Uighur
uk ukr Ukrainian
ur urd Urdu
uz uzb Uzbek
ve ven Venda
vi vie Vietnamese
vo vol Volapük
wa wln Walloon
wo wol Wolof
xh xho Xhosa
yi yid Yiddish
yo yor Yoruba
za zha Zhuang
zh zho chi Chinese
zu zul Zulu
"""
# Withdrawn codes that old files have.
_WITHDRAWN = dict(iw="he", ji="yi", jw="jv", mo="ro", mol="ro", scc="sr", scr="hr")
_WITHDRAWN["in"] = "id"
# Individual languages, of ISO 639-3, which are what a wider code usually stands for.
_WIDER = dict(
    pair.split("=")
    for pair in (
        "als=sqi arb=ara azj=aze cmn=zho ekk=est khk=mon lvs=lav nno=nor nob=nor "
        "npi=nep ory=ori pes=fas swh=swa uzn=uzb ydd=yid zsm=msa"
    ).split()
)
# Undetermined, several, none, uncoded; qaa to qtz are for private use (television: the
# original language, whichever that is).
_UNKNOWN = re.compile(r"und|mul|zxx|mis|q[a-t][a-z]|")


def _codes() -> dict[str, str]:
    """Code or name -> code of three letters."""
    codes = {}
    for line in _TABLE.splitlines():
        two, three, *rest = line.split(" ")
        others, name = (rest[:1], rest[1:]) if rest[0].islower() else ([], rest)
        for key in (two, three, *others, " ".join(name).lower()):
            codes[key] = three
    return codes | {old: codes[new] for old, new in _WITHDRAWN.items()}


_CODES = _codes()


def code(tag: str) -> str:
    """Returns the one code of a language: ISO 639-2/T or 639-3.

    Args:
        tag: a code of ISO 639-1, 639-2 or 639-3, perhaps with a region or script behind
            it (en-US), or an English name; in whatever case.

    Returns:
        Three letters for what is in the table, other tags as they are, in lower case;
        "" for none, und, mul and the like.
    """
    whole = " ".join(tag.lower().split())
    first = _parts(tag)[0]
    found = _CODES.get(whole) or _CODES.get(first, first)
    return "" if _UNKNOWN.fullmatch(found) else found


def likeness(one: str, other: str) -> int:
    """Says how well two tags agree.

    Returns:
        3 for the same language and region, 2 for the same language, 1 if one is the
        usual language that the other, wider one stands for (nob, nor); 0 for different
        languages, or if one is unknown.
    """
    first, second = code(one), code(other)
    if not first or not second:
        return 0
    if first == second:
        region = _parts(one)[1:]
        return 3 if region and region == _parts(other)[1:] else 2
    return int(first == _WIDER.get(second) or second == _WIDER.get(first))


def _parts(tag: str) -> list[str]:
    return [part.strip(" )") for part in re.split("[-_(]", tag.lower())]
