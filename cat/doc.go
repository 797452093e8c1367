// Package cat is the terminal's side of the Card Application Toolkit (ETSI TS 102 223, 3GPP TS 31.111): the codec of
// COMPREHENSION-TLVs, proactive commands, terminal responses and envelopes, and the Session that runs a card through
// it. It knows no reader and no network: a card comes in as a uicc.Card, commands go out to registered Handlers.
//
// Clause numbers in this package are those of ETSI TS 102 223 unless another document is named.
package cat
