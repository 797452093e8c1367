// Package sms takes the short messages that cards want sent out of bipd: into a spool directory, one file a message, or to
// a program of the operator's, which sends them over a modem or a gateway.
package sms

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"bipd/cat"
)

// Message is a short message as spool files and hooks have it, in JSON.
type Message struct {
	Time    time.Time `json:"time"`
	Card    string    `json:"card"`
	Address string    `json:"address"`           // of the service centre, as people write it; "" = the terminal's own
	TONNPI  string    `json:"ton_npi,omitempty"` // of the address: type of number and numbering plan, hex
	TPDU    string    `json:"tpdu"`              // SMS-SUBMIT or SMS-COMMAND (3GPP TS 23.040), hex
}

func encode(m cat.ShortMessage, at time.Time) ([]byte, error) {
	out := Message{Time: at, Card: m.Card, Address: m.Address.String(), TPDU: upper(m.TPDU)}
	if m.Address != (cat.Address{}) {
		out.TONNPI = upper([]byte{m.Address.TONNPI})
	}
	b, err := json.Marshal(out)
	return append(b, '\n'), err
}

func upper(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }
