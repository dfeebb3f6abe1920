"""Word classes for finding a topic in a sentence without a grammar."""

ARTICLES = frozenset(
    """
    a an any each every her his its my our some that the their these this those your
    """.split()
)
"""Words before a noun phrase."""

KEEP_ARTICLE = frozenset(
    """
    better decent fair good great happy perfect
    """.split()
)
"""Words that keep the "a" before them ("a good city")."""

POSSESSIVES = frozenset(
    """
    her his its my our their your
    """.split()
)
"""Words that become "the" when somebody else repeats the phrase."""

STOP_WORDS = frozenset(
    """
    a about actually after again against all allow allowed also although always am among an and another answer
    answers any anyone anything are as at ban be because become becomes been before begin being best better
    between both build but buy by can change choose close come comes consider cost costs could dear debate
    decide describe did discuss do does done during each end ever every everybody everyone exactly explain few
    find first for friends from get gets give go goes going good-morning group had happen happens has have
    having he hello help her here hi his how i if imagine in into is it its just keep keeps kind know last
    learn least less let lets long look make makes making many matter matters may me mean means might more
    most move much must my need never next no nobody nor not nothing now of off on only onto open opinion
    opinions or other ought our out over own pay people person plan plans please put question questions really
    replace said same save say seem seems sell shall she should since so some someone something sort spend
    start still stop such suppose take takes talk talking teach tell tertulia than that the their them then
    there these they thing things think this those thoughts through to today tomorrow tonight too toward
    towards try turn under until up upon us use used uses using very view views want wants was way ways we
    were what when where whether which while who whom whose why will with within without works worth would
    write yes yet you your
    """.split()
)
"""Words that end a noun phrase."""

VERBS = frozenset(
    """
    abandon abolish accept adopt allow answer ask automate ban become begin believe borrow break bring build
    buy cancel care carry change charge choose clean close collect compose cook create cut decide defend delay
    design divide drop eat encourage end expand explain feed fill find finish fix forbid forgive fund get give
    go grow help hire hold host improve introduce invest invite join judge keep launch learn leave lend let
    limit live love lower maintain make measure merge mix move name offer open organise organize own paint pay
    plan plant prefer preserve prevent print promote propose protect prove publish put raise read reduce
    refuse regulate remove rent replace require rescue restore restrict review reward run save sell send serve
    share shift spend split start stop store study summarise summarize support switch take tax teach tell test
    train travel treat trust try turn use visit vote wait walk welcome work write
    """.split()
)
"""Verbs of actions; a noun phrase does not start with one."""

ACTION_OPENERS = frozenset(
    """
    can could do must shall should to us we will would
    """.split()
)
"""Words before an action."""

WEAK_START = frozenset(
    """
    about after although and as ask at because before but by especially even except for from give if in let
    look make may nor of on once or provided put say since so start suppose take than that then though to
    under until whatever when where which while who whoever whom with
    """.split()
)
"""Words with which a quotation does not start."""

FIRST_PERSON = frozenset(
    """
    i i'd i'm i’m me my our us we you your
    """.split()
)
"""Words with which a quotation starts only if there is no other."""

WEAK_END = frozenset(
    """
    a an and are as at be but by for from had has have her his if in into is its my not of on or our that the their
    these this those to was were which who will with would your
    """.split()
)
"""Words with which a quotation does not end."""

PREDICATES = frozenset(
    """
    bad beautiful better dangerous dead different enough fair fine good harmful healthy important necessary needed
    overrated possible ready real right safe useful useless well wise worse worthwhile wrong
    """.split()
)
"""Words at the end of a phrase that are said of it and do not belong to it ("is remote work good")."""
