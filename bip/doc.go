// Package bip is the gateway of the Bearer Independent Protocol (ETSI TS 102 223 clauses 6.4.27 to 6.4.31, 7.5.10 and
// 7.5.11): it answers OPEN CHANNEL, CLOSE CHANNEL, SEND DATA, RECEIVE DATA and GET CHANNEL STATUS, keeps the seven
// channels of a card with their buffers, and tells the card of received data and lost links. The connections
// themselves are made by a Bearer; which one, a Router says.
package bip
