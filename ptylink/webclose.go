package ptylink

import (
	"context"

	"bipd/ptylink/at"
)

// WebClose ends a channel's connection: AT%WEBCLCH=<ch>[,<back to listen>].
type WebClose struct {
	Channel int  // 1..7
	Listen  bool // UICC server mode: close the connection, go on listening
}

// WebCloseChannel has the AP close the channel's connection, AT%WEBCLCH.
func (l *Link) WebCloseChannel(ctx context.Context, ch int) error {
	return l.webClose(ctx, WebClose{Channel: ch})
}

// WebBackToListen has the AP close the connection of a channel in UICC server mode and wait for the next.
func (l *Link) WebBackToListen(ctx context.Context, ch int) error {
	return l.webClose(ctx, WebClose{Channel: ch, Listen: true})
}

func (l *Link) webClose(ctx context.Context, w WebClose) error {
	cmd, err := w.Command()
	if err != nil {
		return err
	}
	_, err = l.Do(ctx, cmd)
	return err
}

// Command makes the command. What the AP would refuse is an error.
func (w WebClose) Command() (at.Command, error) {
	c := at.Command{Name: nameWebClose, Form: at.Set, Args: []at.Arg{at.Num(uint64(w.Channel))}}
	if w.Listen {
		c.Args = append(c.Args, at.Num(1))
	}
	_, err := ParseWebClose(c)
	return c, err
}

// ParseWebClose reads the command. An error is a CMEError, for the handler to return.
func ParseWebClose(c at.Command) (WebClose, error) {
	v, err := setValues(c, nameWebClose)
	if err != nil {
		return WebClose{}, err
	}
	w := WebClose{Channel: channel(v), Listen: v.NumberOr("back to listen", 0, 1, 0) == 1}
	if err := v.End(); err != nil {
		return WebClose{}, err
	}
	return w, nil
}
