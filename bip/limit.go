package bip

import "errors"

var errTooMany = errors.New("see [limits]")

// mayConnect asks whether the card may have another connection made now: for each OPEN CHANNEL, and for each SEND DATA that
// tries an on-demand link again. Where it may not, the card hears 20 00: it may be worth to try again later (clause 8.12).
func (g *Gateway) mayConnect() error {
	if g.cfg.MayConnect == nil || g.cfg.MayConnect() {
		return nil
	}
	return &Error{CauseTooMany, errTooMany}
}
