// Package pcscd tests the CCID driver beside pcscd and libccid, with OpenSC as a client that is not ours: the same card
// gives the same answers, and each lets the other have the reader.
package pcscd
