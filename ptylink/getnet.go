package ptylink

import (
	"context"
	"fmt"
	"net/netip"

	"bipd/ptylink/at"
)

// NetPar is what the AP knows of a network, AT%GETNET's answer:
//
//	%NETPAR: <ch>,"<PDP type>","<APN>","<user>","<password>","<interface>","<DNS1>","<DNS2>",<MTU>
type NetPar struct {
	Channel     int    // 1..7
	PDPType     string // "IP", "IPV6", "IPV4V6", 27.007 10.1.1
	AccessPoint string
	User        string
	Password    Secret
	Interface   string
	DNS         []netip.Addr // two at most
	MTU         int          // octets, 0: not known
}

// GetNet asks for the parameters of the network that the access name names: AT%GETNET. bearer is the bearer type of TS 102
// 223 8.52; without an access name the AP gives its default.
func (l *Link) GetNet(ctx context.Context, ch int, bearer byte, nan string) (NetPar, error) {
	cmd, err := getNetCommand(ch, bearer, nan)
	if err != nil {
		return NetPar{}, err
	}
	var n NetPar
	err = l.ask(ctx, cmd, func(line string) (err error) {
		if n, err = ParseNetPar(line); err == nil && n.Channel != ch {
			err = fmt.Errorf("%w: %s for channel %d", ErrAnswer, nameNetPar, n.Channel)
		}
		return err
	})
	if err != nil {
		return NetPar{}, err
	}
	return n, nil
}

func getNetCommand(ch int, bearer byte, nan string) (at.Command, error) {
	c := at.Command{Name: nameGetNet, Form: at.Set, Args: []at.Arg{at.Num(uint64(ch)), at.Num(uint64(bearer))}}
	if nan != "" {
		c.Args = append(c.Args, at.Str(nan))
	}
	_, _, _, err := ParseGetNet(c) // what the other end would refuse is not sent
	return c, err
}

// ParseGetNet reads AT%GETNET=<ch>,<bearer>[,"<NAN>"]. An error is a CMEError, for the handler to return.
func ParseGetNet(c at.Command) (ch int, bearer byte, nan string, err error) {
	v, err := setValues(c, nameGetNet)
	if err != nil {
		return 0, 0, "", err
	}
	ch = channel(v)
	bearer = byte(v.Number("bearer", 0, 255))
	nan = v.TextOr("network access name", MaxAccessPoint)
	if err := v.End(); err != nil {
		return 0, 0, "", err
	}
	return ch, bearer, nan, nil
}

// Lines prints the information line, for a handler to return. What does not fit the line is an error.
func (n NetPar) Lines() ([]string, error) {
	if len(n.DNS) > 2 {
		return nil, fmt.Errorf("ptylink: %s: more than two DNS servers", nameNetPar)
	}
	var dns [2]string
	for i, a := range n.DNS {
		dns[i] = a.String()
	}
	line, err := at.PrintResult(nameNetPar, at.Num(uint64(n.Channel)), at.Str(n.PDPType), at.Str(n.AccessPoint), at.Str(n.User),
		at.Str(n.Password.Reveal()), at.Str(n.Interface), at.Str(dns[0]), at.Str(dns[1]), at.Num(uint64(n.MTU)))
	if err != nil {
		return nil, err
	}
	if _, err := ParseNetPar(line); err != nil { // what the other end would refuse is not sent
		return nil, err
	}
	return []string{line}, nil
}

// ParseNetPar reads the information line.
func ParseNetPar(line string) (NetPar, error) {
	v, err := resultValues(line, nameNetPar)
	if err != nil {
		return NetPar{}, err
	}
	n := NetPar{
		Channel:     channel(v),
		PDPType:     v.TextOr("PDP type", maxPDPType),
		AccessPoint: v.TextOr("access point", MaxAccessPoint),
		User:        v.TextOr("user", MaxUser),
		Password:    Secret(v.TextOr("password", MaxPassword)),
		Interface:   v.TextOr("interface", maxInterface),
	}
	for range 2 {
		s := v.TextOr("DNS server", maxAddress)
		if s == "" {
			continue
		}
		a, err := parseAddr(s)
		if err != nil {
			return NetPar{}, fmt.Errorf("%w: DNS server of %s: %w", ErrAnswer, nameNetPar, err)
		}
		n.DNS = append(n.DNS, a)
	}
	n.MTU = int(v.NumberOr("MTU", 0, 65535, 0))
	if err := v.End(); err != nil {
		return NetPar{}, fmt.Errorf("%w: %s: %w", ErrAnswer, nameNetPar, err)
	}
	return n, nil
}
