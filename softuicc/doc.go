// Package softuicc is a UICC in software, good enough to test a terminal against: a T=0 card with a file system, PIN and
// the Card Application Toolkit (ETSI TS 102 221, ETSI TS 102 223), whose applets are Go functions that reach the network
// over the Bearer Independent Protocol. A judge reads every toolkit APDU of the terminal and records what breaks the
// specifications.
//
// A Card is a uicc.Card without the settling layer: like a real T=0 card it answers 61xx and 6Cxx itself. It has more
// faces: a Reader, into which tests insert it and from which they tear it; ServeVPCD for a real PC/SC stack; VSCard for
// QEMU's card reader; and Contacts, the card as its reader's line has it, with PPS, the characters of T=0 and the blocks
// of T=1, and with what goes wrong on a line.
//
// The judge shares no code with package cat, for it judges that codec too.
package softuicc
