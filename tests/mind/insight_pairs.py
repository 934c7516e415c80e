"""Questions whose insights lie in the memory, with those that they fit and those that only
look like it: the same words, another problem. Half of the groups chose the thresholds
(``CHOOSING``), the other half says how well they hold (``HELD_OUT``)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """``asked`` has a stored insight that ``applies`` then; ``same`` may use it, ``other`` not."""

    asked: str
    applies: str
    same: tuple[str, ...]
    other: tuple[str, ...]


GROUPS = (
    Group(
        "Why does my Python loop over a dict raise RuntimeError when I delete keys?",
        "a container is changed while it is iterated over",
        (
            "Deleting entries from a dictionary while iterating over it gives RuntimeError. Why?",
            "Python says dictionary changed size during iteration when I remove keys in a for "
            "loop, what is wrong?",
            "Hvorfor får jeg RuntimeError når jeg sletter nøkler fra en dict mens jeg går "
            "gjennom den?",
        ),
        (
            "Why does my Python loop over a dict raise KeyError when I read keys?",
            "How do I sort a Python dict by its values?",
            "Hvordan slår jeg sammen to ordbøker i Python?",
        ),
    ),
    Group(
        "Our monthly report query in Postgres got slow after the orders table grew to 50 million "
        "rows, what should we do?",
        "a query scans a large table because no index fits its filter",
        (
            "The Postgres query behind the monthly report has become slow now that orders has 50 "
            "million rows. What can we do?",
            "Spørringen til månedsrapporten i Postgres er blitt treg etter at ordretabellen vokste "
            "til 50 millioner rader, hva bør vi gjøre?",
        ),
        (
            "Our nightly backup of Postgres got slow after the orders table grew, what should we "
            "do?",
            "How do I delete 50 million rows from the orders table in Postgres?",
            "Hvordan eksporterer vi månedsrapporten fra Postgres til Excel?",
        ),
    ),
    Group(
        "How do I undo the last git commit but keep my changes?",
        "a commit is to be taken back without losing the work in it",
        (
            "Undo my latest commit in git without losing the changes",
            "I committed too early. How can I take back the last git commit and keep the work?",
            "Hvordan angrer jeg siste git commit, men beholder endringene?",
        ),
        (
            "How do I undo the last git commit and throw my changes away?",
            "How do I undo a git merge that I have pushed?",
            "Hvordan endrer jeg meldingen på siste git commit?",
        ),
    ),
    Group(
        "What tax do I owe in Norway when I sell shares at a profit?",
        "gains on shares of a private person are taxed in Norway",
        (
            "If I sell stocks with a gain in Norway, how much tax must I pay?",
            "Hvor mye skatt må jeg betale i Norge når jeg selger aksjer med gevinst?",
            "Hva er skatten på aksjegevinst i Norge?",
        ),
        (
            "What tax do I owe in Norway when I sell my house at a profit?",
            "What tax do I owe in Sweden when I sell shares at a profit?",
            "Hvordan fører jeg tap på aksjer i skattemeldingen?",
        ),
    ),
    Group(
        "Our React list re-renders every row when one item changes. How do we stop that?",
        "a component renders anew although its own data did not change",
        (
            "When a single item changes, all rows of our React list render again. How can we "
            "prevent it?",
            "Alle radene i React-lista vår tegnes på nytt når ett element endres. Hvordan unngår "
            "vi det?",
        ),
        (
            "Our React list does not re-render when one item changes. How do we fix that?",
            "How do we add drag and drop to our React list?",
            "Hvordan sorterer vi radene i en React-tabell?",
        ),
    ),
    Group(
        "How can I tell whether the difference between two conversion rates is significant?",
        "two proportions are compared",
        (
            "Which test tells me if two conversion rates really differ?",
            "Is the gap between two conversion rates statistically significant, and how do I find "
            "out?",
            "Hvordan ser jeg om forskjellen mellom to konverteringsrater er signifikant?",
        ),
        (
            "How can I raise the conversion rate of our checkout page?",
            "How can I tell whether the difference between two means is significant?",
            "Hvor mange besøkende trenger jeg for en A/B-test?",
        ),
    ),
    Group(
        "My Docker container exits immediately with code 0 after it starts. Why?",
        "the main process of a container ends at once",
        (
            "Why does my Docker container stop right away with exit code 0?",
            "Docker-containeren min avslutter med en gang med kode 0. Hvorfor?",
        ),
        (
            "My Docker container exits after an hour with code 137. Why?",
            "How do I make my Docker container start at boot?",
            "Hvorfor bruker Docker-containeren min så mye minne?",
        ),
    ),
    Group(
        "How should I answer a customer who complains that the delivery came two weeks late?",
        "a customer complains of a late delivery and wants an answer",
        (
            "A customer is angry because their order arrived two weeks late. What do I write back?",
            "Hvordan bør jeg svare en kunde som klager på at leveringen kom to uker for sent?",
        ),
        (
            "How should I answer a customer who complains that the product is broken?",
            "How should I ask a supplier for a discount when a delivery is late?",
            "Hvordan varsler jeg kunder om at butikken holder stengt i to uker?",
        ),
    ),
    Group(
        "Why is my neural network's validation loss going up while training loss goes down?",
        "a model fits its training data and gets worse on new data",
        (
            "Training loss keeps falling but validation loss rises, what is happening to my "
            "network?",
            "Hvorfor øker valideringstapet mens treningstapet i det nevrale nettet synker?",
        ),
        (
            "Why is my neural network's training loss going up?",
            "Why is my validation loss lower than my training loss?",
            "Hvor mange lag bør det nevrale nettet mitt ha?",
        ),
    ),
    Group(
        "How do I keep sourdough bread from coming out flat?",
        "a dough has lost its strength before it is baked",
        (
            "My sourdough loaves turn out flat. What can I do about it?",
            "Surdeigsbrødet mitt blir flatt. Hvordan unngår jeg det?",
        ),
        (
            "How do I keep sourdough bread from getting mouldy?",
            "How do I make sourdough pizza?",
            "Hvor lenge holder en surdeigsstarter seg i kjøleskapet?",
        ),
    ),
    Group(
        "How can I make pandas read a 20 GB CSV without running out of memory?",
        "a file is larger than the memory that reads it",
        (
            "pandas runs out of memory on a 20 GB CSV file. How do I read it?",
            "Hvordan leser jeg en CSV på 20 GB med pandas uten å gå tom for minne?",
        ),
        (
            "How can I make pandas write a CSV without the index?",
            "How can I make pandas read a CSV with semicolons?",
            "Hvordan slår jeg sammen to CSV-filer i pandas?",
        ),
    ),
    Group(
        "Should our team of five use microservices or a monolith for the new shop?",
        "a small team chooses the architecture of a new system",
        (
            "We are five developers building a new shop: monolith or microservices?",
            "Bør teamet vårt på fem bruke mikrotjenester eller en monolitt til den nye butikken?",
        ),
        (
            "How do we split our monolith of ten years into microservices?",
            "Should our team of five use Scrum or Kanban for the new shop?",
            "Hvilken database bør den nye nettbutikken bruke?",
        ),
    ),
    Group(
        "Why does my SSH login still ask for a password although I copied the public key?",
        "a public key is in place and the server does not accept it",
        (
            "I put my public key on the server but ssh keeps asking for the password. Why?",
            "Hvorfor ber SSH fortsatt om passord selv om jeg har kopiert den offentlige nøkkelen?",
        ),
        (
            "Why does my SSH login say connection refused?",
            "How do I change the passphrase of my SSH key?",
            "Hvordan kopierer jeg en fil til serveren med SSH?",
        ),
    ),
    Group(
        "How many days of notice must I give when I quit my job in Norway?",
        "an employee in Norway gives notice",
        (
            "What is the notice period if I resign from a job in Norway?",
            "Hvor lang oppsigelsestid har jeg når jeg sier opp jobben i Norge?",
        ),
        (
            "How many days of holiday do I have when I quit my job in Norway?",
            "How many days of notice must a landlord give in Norway?",
            "Kan arbeidsgiveren si meg opp mens jeg er sykmeldt?",
        ),
    ),
    Group(
        "How do I stop Excel from turning my product codes into dates?",
        "a program guesses the type of a column wrongly",
        (
            "Excel converts product codes to dates when I open the file, how can I prevent that?",
            "Hvordan hindrer jeg Excel i å gjøre produktkodene mine om til datoer?",
        ),
        (
            "How do I calculate the days between two dates in Excel?",
            "How do I stop Excel from turning my dates into numbers?",
            "Hvordan finner jeg like produktkoder i Excel?",
        ),
    ),
    Group(
        "Why does my async Python code run the requests one after another?",
        "coroutines are awaited one by one",
        (
            "My asyncio requests run sequentially instead of at the same time. Why?",
            "Hvorfor kjører den asynkrone Python-koden min forespørslene etter hverandre?",
        ),
        (
            "Why does my async Python code never end?",
            "How do I limit the number of requests per second in async Python?",
            "Hvordan skriver jeg en test for asynkron Python-kode?",
        ),
    ),
    Group(
        "How do I explain to the board why revenue fell while the number of users grew?",
        "two figures move apart and the reason is asked for",
        (
            "Users went up but revenue went down. How should I explain that to the board?",
            "Hvordan forklarer jeg styret at inntektene falt mens antall brukere økte?",
        ),
        (
            "How do I explain to the board why costs grew while the number of users fell?",
            "How do I ask the board for a larger budget?",
            "Hvordan får vi flere brukere uten å øke markedsbudsjettet?",
        ),
    ),
    Group(
        "What causes a 502 from nginx in front of our Django app at peak hours?",
        "the server behind a proxy has no free worker",
        (
            "At peak hours nginx returns 502 for our Django application. What is the cause?",
            "Hva er årsaken til at nginx foran Django-appen vår gir 502 når det er mye trafikk?",
        ),
        (
            "What causes a 404 from nginx in front of our Django app?",
            "How do we serve static files of Django with nginx?",
            "Hvordan setter vi opp HTTPS i nginx for Django?",
        ),
    ),
    Group(
        "How can I prove that the square root of 2 is irrational?",
        "a number is shown to be irrational by contradiction",
        (
            "Give me a proof of the irrationality of the square root of 2",
            "Hvordan beviser jeg at kvadratroten av 2 er irrasjonal?",
        ),
        (
            "How can I prove that there are infinitely many primes?",
            "How can I compute the square root of 2 by hand?",
            "Hvordan beviser jeg at kvadratroten av 4 er et helt tall?",
        ),
    ),
    Group(
        "Our CI tests pass locally but fail at random on the server. How do we find out why?",
        "tests depend on timing, order or the machine",
        (
            "Tests are green on our laptops and fail randomly in CI. How can we find the reason?",
            "Testene våre går bra lokalt, men feiler tilfeldig på CI-serveren. Hvordan finner vi "
            "ut hvorfor?",
        ),
        (
            "Our CI server is slow. How do we find out why?",
            "How do we run our tests locally before each commit?",
            "Hvordan måler vi testdekningen på CI-serveren?",
        ),
    ),
    Group(
        "How do I get rid of a cough that has lasted for three weeks after a cold?",
        "a cough stays after an infection",
        (
            "I still have a cough three weeks after my cold. What helps?",
            "Hvordan blir jeg kvitt en hoste som har vart i tre uker etter en forkjølelse?",
        ),
        (
            "How do I get rid of a headache that has lasted for three days?",
            "How do I keep from catching a cold in winter?",
            "Hvor lenge smitter en forkjølelse?",
        ),
    ),
    Group(
        "How do I choose between a fixed and a floating interest rate for my mortgage?",
        "a borrower weighs certainty against expected cost",
        (
            "Fixed or variable rate for a home loan: how do I decide?",
            "Hvordan velger jeg mellom fast og flytende rente på boliglånet?",
        ),
        (
            "How do I choose between renting and buying a flat?",
            "How do I get a lower interest rate for my mortgage?",
            "Hvor mye kan jeg låne til bolig?",
        ),
    ),
    Group(
        "Why is my Rust function not allowed to return a reference to a local variable?",
        "a reference would outlive what it points to",
        (
            "The Rust compiler refuses a function that returns a reference to a local. Why?",
            "Hvorfor får ikke Rust-funksjonen min returnere en referanse til en lokal variabel?",
        ),
        (
            "Why is my Rust function not allowed to change a variable?",
            "How does a Rust function return two values?",
            "Hvordan kaller jeg en Rust-funksjon fra Python?",
        ),
    ),
    Group(
        "How do we plan a database migration without downtime?",
        "the schema changes while the service runs",
        (
            "We want to migrate our database with no downtime. How do we plan that?",
            "Hvordan planlegger vi en databasemigrering uten nedetid?",
        ),
        (
            "How do we plan an office move without downtime?",
            "How do we roll back a failed database migration?",
            "Hvordan tar vi sikkerhetskopi av databasen hver natt?",
        ),
    ),
)

CHOOSING = GROUPS[::2]
HELD_OUT = GROUPS[1::2]
