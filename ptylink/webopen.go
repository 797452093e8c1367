package ptylink

import (
	"context"
	"fmt"
	"net/netip"

	"bipd/ptylink/at"
)

// WebOpen is a connection that the CP wants of the AP:
//
//	AT%WEBOPCH=<ch>,"TCP"|"UDP","<address>",<port>,<buffer>[,"<NAN>"[,"<user>","<password>"[,"<local address>"]]]
type WebOpen struct {
	Channel  int    // 1..7
	Network  string // "tcp" or "udp"
	Remote   netip.AddrPort
	Buffer   int    // octets that the card's buffer holds, 1..65535
	NAN      string // network access name, "": the AP's default
	User     string
	Password Secret
	Local    netip.Addr // to connect from; the zero Addr or an unspecified one: any
}

// networks are the transports by their word on the line.
var networks = map[string]string{"TCP": "tcp", "UDP": "udp"}

// WebOpenChannel has the AP connect, AT%WEBOPCH, and gives the local address of the connection. The channel's DLC must
// be open. It lasts as long as the AP takes to connect or to give up, and other commands wait as long: a caller that gives
// up closes the DLC, at which the AP gives up too. Without a deadline in ctx it lasts 60 s at most. A failure is an
// at.CMEError for each cause.
func (l *Link) WebOpenChannel(ctx context.Context, w WebOpen) (local netip.AddrPort, err error) {
	cmd, err := w.Command()
	if err != nil {
		return netip.AddrPort{}, err
	}
	if s := l.session(); s == nil {
		return netip.AddrPort{}, ErrDown
	} else if err := s.askForReports(ctx); err != nil {
		return netip.AddrPort{}, lineError(err)
	}
	err = l.ask(ctx, cmd, func(line string) (err error) {
		ch := 0
		if ch, local, err = ParseWebOpened(line); err == nil && ch != w.Channel {
			err = fmt.Errorf("%w: %s for channel %d", ErrAnswer, nameWebOpen, ch)
		}
		return err
	})
	if err != nil {
		return netip.AddrPort{}, err
	}
	return local, nil
}

// Command makes the command. What the AP would refuse is an error.
func (w WebOpen) Command() (at.Command, error) {
	c := at.Command{Name: nameWebOpen, Form: at.Set}
	word := ""
	for k, v := range networks {
		if v == w.Network {
			word = k
		}
	}
	c.Args = []at.Arg{at.Num(uint64(w.Channel)), at.Str(word), at.Str(w.Remote.Addr().String()), at.Num(uint64(w.Remote.Port())),
		at.Num(uint64(w.Buffer))}
	login := w.User != "" || w.Password != ""
	local := w.Local.IsValid() && !w.Local.IsUnspecified()
	if w.NAN != "" || login || local {
		c.Args = append(c.Args, at.Str(w.NAN))
	}
	if login || local {
		c.Args = append(c.Args, at.Str(w.User), at.Str(w.Password.Reveal()))
	}
	if local {
		c.Args = append(c.Args, at.Str(w.Local.String()))
	}
	_, err := ParseWebOpen(c)
	return c, err
}

// ParseWebOpen reads the command. An error is a CMEError, for the handler to return.
func ParseWebOpen(c at.Command) (WebOpen, error) {
	v, err := setValues(c, nameWebOpen)
	if err != nil {
		return WebOpen{}, err
	}
	w := WebOpen{Channel: channel(v), Network: networks[v.Text("transport", 3)]}
	address := v.Text("address", maxAddress)
	port := uint16(v.Number("port", 1, 65535))
	w.Buffer = int(v.Number("buffer", 1, 65535))
	w.NAN = v.TextOr("network access name", MaxAccessPoint)
	if v.More() {
		w.User = v.TextOr("user", MaxUser)
		if !v.More() {
			return WebOpen{}, fmt.Errorf("%w: user without password", at.ErrParameters)
		}
		w.Password = Secret(v.TextOr("password", MaxPassword))
	}
	local := "::" // any
	if v.More() {
		local = v.Text("local address", maxAddress)
	}
	if err := v.End(); err != nil {
		return WebOpen{}, err
	}
	if w.Network == "" {
		return WebOpen{}, fmt.Errorf(`%w: transport is neither "TCP" nor "UDP"`, at.ErrParameters)
	}
	addr, err := parseAddr(address)
	if err != nil {
		return WebOpen{}, err
	}
	w.Remote = netip.AddrPortFrom(addr, port)
	if addr, err = parseAddr(local); err != nil {
		return WebOpen{}, err
	}
	if !addr.IsUnspecified() {
		w.Local = addr
	}
	return w, nil
}

// WebOpenedLines prints the answer %WEBOPCH: <ch>,"<local address>",<local port>, for a handler to return.
func WebOpenedLines(ch int, local netip.AddrPort) ([]string, error) {
	line, err := at.PrintResult(nameWebOpen, at.Num(uint64(ch)), at.Str(local.Addr().WithZone("").String()), at.Num(uint64(local.Port())))
	if err != nil {
		return nil, err
	}
	if _, _, err := ParseWebOpened(line); err != nil {
		return nil, err
	}
	return []string{line}, nil
}

// ParseWebOpened reads the answer.
func ParseWebOpened(line string) (ch int, local netip.AddrPort, err error) {
	v, err := resultValues(line, nameWebOpen)
	if err != nil {
		return 0, netip.AddrPort{}, err
	}
	ch = channel(v)
	address := v.Text("local address", maxAddress)
	port := uint16(v.Number("local port", 0, 65535))
	if err := v.End(); err != nil {
		return 0, netip.AddrPort{}, fmt.Errorf("%w: %s: %w", ErrAnswer, nameWebOpen, err)
	}
	addr, err := parseAddr(address)
	if err != nil {
		return 0, netip.AddrPort{}, fmt.Errorf("%w: %s: %w", ErrAnswer, nameWebOpen, err)
	}
	return ch, netip.AddrPortFrom(addr, port), nil
}
