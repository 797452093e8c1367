package ptylink

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"bipd/ptylink/at"
)

// Access is what carries the AP's network.
type Access uint8

// Access technologies beside those of TS 102 223 8.61, which are below 0B.
const (
	AccessWLAN  Access = 100
	AccessWired Access = 101
	AccessOther Access = 255 // not told
)

func (a Access) String() string {
	switch a {
	case AccessWLAN:
		return "WLAN"
	case AccessWired:
		return "wired"
	case AccessOther:
		return "other"
	}
	return "access technology " + strconv.Itoa(int(a))
}

// NetStat is the state of the AP's network, asked for or told when it changes:
//
//	%NETSTAT: <access technology>,<state>,"<interface>"
type NetStat struct {
	Access    Access
	Up        bool // state 1; state 0 is down
	Interface string
}

// NetStat asks for the state of the AP's network, AT%NETSTAT?.
func (l *Link) NetStat(ctx context.Context) (NetStat, error) {
	var n NetStat
	err := l.ask(ctx, at.Command{Name: nameNetStat, Form: at.Read}, func(line string) (err error) {
		n, err = ParseNetStat(line)
		return err
	})
	return n, err
}

// Lines prints the information line, for a handler to return; the unsolicited result code is the same.
func (n NetStat) Lines() ([]string, error) {
	line, err := at.PrintResult(nameNetStat, at.Num(uint64(n.Access)), at.Num(flag(n.Up)), at.Str(n.Interface))
	if err != nil {
		return nil, err
	}
	if _, err := ParseNetStat(line); err != nil {
		return nil, err
	}
	return []string{line}, nil
}

// ParseNetStat reads the line.
func ParseNetStat(line string) (NetStat, error) {
	v, err := resultValues(line, nameNetStat)
	if err != nil {
		return NetStat{}, err
	}
	n := NetStat{Access: Access(v.Number("access technology", 0, 255)), Up: v.Number("state", 0, 1) == 1,
		Interface: v.TextOr("interface", maxInterface)}
	if err := v.End(); err != nil {
		return NetStat{}, fmt.Errorf("%w: %s: %w", ErrAnswer, nameNetStat, err)
	}
	return n, nil
}

// WebState is the state of a channel's connection.
type WebState uint8

const (
	WebClosed    WebState = 0
	WebListening WebState = 1 // UICC server mode, no client
	WebConnected WebState = 2
	// WebEnding is a connection whose server has ended its direction and may still read: the AP waits for the CP to end the
	// other. Octets tells how many come from the server, for result codes overtake data.
	WebEnding WebState = 3
)

func (s WebState) String() string {
	switch s {
	case WebClosed:
		return "closed"
	case WebListening:
		return "listening"
	case WebConnected:
		return "connected"
	case WebEnding:
		return "ended by the server"
	}
	return "state " + strconv.Itoa(int(s))
}

// WebStat is what the AP tells of a channel by itself: %WEBSTAT: <ch>,<state>,<cause>[,<octets>].
type WebStat struct {
	Channel int // 1..7
	State   WebState
	Cause   at.CMEError // why, 0 without a failure
	Octets  uint64      // in state WebEnding: the octets of the whole connection from the server, sent on the DLC
}

// Line prints the unsolicited result code, for Peer.Notify.
func (w WebStat) Line() string {
	if w.State == WebEnding {
		return fmt.Sprintf("%s: %d,%d,%d,%d", nameWebStat, w.Channel, w.State, int(w.Cause), w.Octets)
	}
	return fmt.Sprintf("%s: %d,%d,%d", nameWebStat, w.Channel, w.State, int(w.Cause))
}

// ParseWebStat reads the line.
func ParseWebStat(line string) (WebStat, error) {
	v, err := resultValues(line, nameWebStat)
	if err != nil {
		return WebStat{}, err
	}
	w := WebStat{Channel: channel(v), State: WebState(v.Number("state", 0, 3)), Cause: at.CMEError(v.NumberOr("cause", 0, 65535, 0))}
	if w.State == WebEnding {
		w.Octets = v.Number("octets", 0, math.MaxInt64)
	}
	if err := v.End(); err != nil {
		return WebStat{}, fmt.Errorf("%w: %s: %w", ErrAnswer, nameWebStat, err)
	}
	return w, nil
}

// AT%WEBSTAT=<0|1> says whether the CP knows WebEnding. Without it the AP closes the DLC of a connection that the server
// has ended, and what the CP still sends on it is lost, for which the AP resets the connection.
func webStatCommand(on bool) at.Command {
	return at.Command{Name: nameWebStat, Form: at.Set, Args: []at.Arg{at.Num(flag(on))}}
}

// ParseWebStatMode reads AT%WEBSTAT. An error is a CMEError, for the handler to return.
func ParseWebStatMode(c at.Command) (on bool, err error) {
	v, err := setValues(c, nameWebStat)
	if err != nil {
		return false, err
	}
	on = v.Number("reports", 0, 1) == 1
	err = v.End()
	return on && err == nil, err
}

// ParseUnsolicited reads an unsolicited result code of the AP: a WebStat or a NetStat. Others are an error.
func ParseUnsolicited(line string) (any, error) {
	switch name := at.ResultName(line); name {
	case nameWebStat:
		return ParseWebStat(line)
	case nameNetStat:
		return ParseNetStat(line)
	default:
		return nil, fmt.Errorf("%w: unsolicited result code %q is not known", ErrAnswer, name)
	}
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
