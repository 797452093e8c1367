package ptylink

import (
	"context"
	"fmt"
	"net/netip"

	"bipd/ptylink/at"
)

// setValues gives the values of a command in its set form.
func setValues(c at.Command, name string) (*at.Values, error) {
	if c.Name != name {
		return nil, fmt.Errorf("%w: %s where %s is due", at.ErrUnknown, c.Name, name)
	}
	if c.Form != at.Set {
		return nil, fmt.Errorf("%w: %v form of %s", at.ErrNotSupported, c.Form, name)
	}
	return at.NewValues(c.Args), nil
}

// resultValues gives the values of an information line or unsolicited result code.
func resultValues(line, name string) (*at.Values, error) {
	got, args, err := at.ParseResult(line)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrAnswer, name, err)
	}
	if got != name {
		return nil, fmt.Errorf("%w: %s where %s is due", ErrAnswer, got, name)
	}
	return at.NewValues(args), nil
}

func channel(v *at.Values) int { return int(v.Number("channel", 1, MaxChannel)) }

// parseAddr takes an address without a zone: a zone is a name on one box and means nothing on the other.
func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%w: not an IP address", at.ErrParameters)
	}
	return a, nil
}

// ask runs a command that is answered by one information line, and has it read. An answer that is not the command's makes
// the client find out whether it still hears the answers to its own commands.
func (l *Link) ask(ctx context.Context, cmd at.Command, read func(line string) error) error {
	s, lines, err := l.do(ctx, cmd)
	if err != nil {
		return err
	}
	if len(lines) == 1 {
		err = read(lines[0])
	} else {
		err = fmt.Errorf("%w: %d information lines to %s", ErrAnswer, len(lines), cmd.Name)
	}
	if err != nil {
		s.client.Doubt()
	}
	return err
}
