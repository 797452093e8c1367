package bip

import "errors"

var (
	errTooMany      = errors.New("see [limits]")
	errTooManyAtEnd = errors.New("the far ends of as many closed channels as may be are still waited for")
)

// maxFinishing bounds the connections of closed channels whose far ends are still waited for: each keeps a socket and what
// the card has sent. 60 connections in a minute to servers that do not close within 30 s make as many.
const maxFinishing = 64

// mayConnect asks whether the card may have another connection made now: for each OPEN CHANNEL, and for each SEND DATA that
// tries an on-demand link again. Where it may not, the card hears 20 00: it may be worth to try again later (clause 8.12).
func (g *Gateway) mayConnect() error {
	switch {
	case g.finishing.Load() >= maxFinishing:
		return &Error{CauseTooMany, errTooManyAtEnd}
	case g.cfg.MayConnect != nil && !g.cfg.MayConnect():
		return &Error{CauseTooMany, errTooMany}
	}
	return nil
}
