// Package conformance holds what the terminal answers for, as named tests: the byte vectors of the conformance documents,
// their command sequences played by a software UICC, the faults of other terminals that this one must not have, and an
// independent decoder's reading of every APDU on the way. It has no code of its own; make conformance prints its table.
package conformance
