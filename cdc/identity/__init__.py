"""OneID: the same person in every channel (ARCHITECTURE.md section 8). Guards I1 (nobody is guessed, nothing is lost), I3, I9.

Rows of an entity with `identity` are people. A OneID is an integer that the hub store gives out, never twice.

    identifiers   a row's phone, e-mail, openid in one form; what is blocked identifies nobody
    sealing       their names at rest (keyed hashes) and their sealed values
    deciding      who a row is: pure, over a view of what is known
    registry      the hub store: loading a view, keeping what was decided, one winner under a lock
    merging       two people made one, undone, kept apart, forgotten: numbered events
    resolver      batches of sightings -> OneIDs, through two caches

What is durable, and where a crash may fall:

- A row's OneID is decided in the hub store *before* its change is published. A capture that dies in between reads its log
  again, and finds what it decided: every link holds the place in the log where it was last written, and what lies at or
  before that place changes nothing. The same log always gives the same people.
- A row that an applier creates gets its link in the target itself, in the transaction that creates it, and from there in the
  hub store. A capture that meets a row which the hub store does not know asks the same table of its own database first.

Two people who turn out to be one: where no channel has a row for both, all that is one's becomes the other's, at once; no key
in any table changes, and a change that is still under way under the old OneID is written to the row of the new one. Where a
channel has a row for both, only an operator may say so. Then the rows go on as two rows under two OneIDs (every change goes to
the same row wherever and whenever it arrives), while identifiers, and references in every channel, are the kept person's.
"""
