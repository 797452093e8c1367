package softuicc

import (
	"bytes"
	"fmt"
)

// maxRetries is the number of wrong PINs in a row that block it (ETSI TS 102 221 clause 9.5.1).
const maxRetries = 3

// pinState is PIN1. Its counter outlives a reset.
type pinState struct {
	code    []byte // 8 octets padded with FF; nil = disabled
	retries byte
}

func newPIN(pin string) (pinState, error) {
	p := pinState{retries: maxRetries}
	if pin == "" {
		return p, nil
	}
	if len(pin) < 4 || len(pin) > 8 {
		return p, fmt.Errorf("softuicc: PIN of %d digits, 4 to 8 are allowed", len(pin))
	}
	for _, d := range []byte(pin) {
		if d < '0' || d > '9' {
			return p, fmt.Errorf("softuicc: PIN with something else than digits")
		}
	}
	p.code = append([]byte(pin), bytes.Repeat([]byte{0xFF}, 8-len(pin))...)
	return p, nil
}

// verify answers VERIFY PIN (ETSI TS 102 221 clause 11.1.9). Without data it tells the retries left.
func (c *Card) verify(m *command) answer {
	if m.p1 != 0 {
		return status(swParameters)
	}
	if m.p2 != 0x01 {
		return status(swReference)
	}
	switch {
	case c.pins.code == nil:
		return status(swInvalidated)
	case c.pins.retries == 0:
		return status(swBlocked)
	case !m.hasData && m.p3 == 0 && !c.cfg.GSM:
		return status(swRetries | uint16(c.pins.retries))
	case len(m.data) != 8:
		return status(swWrongLength)
	}
	if bytes.Equal(m.data, c.pins.code) {
		c.pins.retries = maxRetries
		c.run.verified = true
		return status(swOK)
	}
	c.run.verified = false
	c.pins.retries--
	if c.pins.retries == 0 {
		return status(swBlocked)
	}
	return status(swRetries | uint16(c.pins.retries))
}
