package ptylink

import (
	"context"

	"bipd/ptylink/at"
)

// WebListen asks for UICC server mode: AT%WEBLSTN=<ch>,<port>,<buffer>.
type WebListen struct {
	Channel int    // 1..7
	Port    uint16 // local port, not 0
	Buffer  int    // octets, 1..65535
}

// WebListen has the AP listen, AT%WEBLSTN.
func (l *Link) WebListen(ctx context.Context, w WebListen) error {
	cmd, err := w.Command()
	if err != nil {
		return err
	}
	_, err = l.Do(ctx, cmd)
	return err
}

// Command makes the command. What the AP would refuse is an error.
func (w WebListen) Command() (at.Command, error) {
	c := at.Command{Name: nameWebListen, Form: at.Set,
		Args: []at.Arg{at.Num(uint64(w.Channel)), at.Num(uint64(w.Port)), at.Num(uint64(w.Buffer))}}
	_, err := ParseWebListen(c)
	return c, err
}

// ParseWebListen reads the command. An error is a CMEError, for the handler to return.
func ParseWebListen(c at.Command) (WebListen, error) {
	v, err := setValues(c, nameWebListen)
	if err != nil {
		return WebListen{}, err
	}
	w := WebListen{Channel: channel(v), Port: uint16(v.Number("port", 1, 65535)), Buffer: int(v.Number("buffer", 1, 65535))}
	if err := v.End(); err != nil {
		return WebListen{}, err
	}
	return w, nil
}
