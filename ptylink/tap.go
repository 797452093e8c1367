package ptylink

import (
	"fmt"
	"strings"

	"bipd/ptylink/at"
)

// Direction tells which way a line went.
type Direction int

const (
	Sent Direction = iota
	Received
)

func (d Direction) String() string {
	if d == Received {
		return "received"
	}
	return "sent"
}

// secretValue is the place of the password in the values of a line, -1 for none. In a line of another name every string
// is masked: its name may be that of a line below with an octet gone wrong.
var secretValue = map[string]int{
	nameGetNet: -1, nameWebClose: -1, nameWebListen: -1, nameNetStat: -1, nameWebStat: -1,
	nameWebOpen: 7, nameNetPar: 4,
}

// tracer makes a Tap into what package at calls, with every password masked; nil for nil.
func tracer(tap func(Direction, string)) func(received bool, line string) {
	if tap == nil {
		return nil
	}
	return func(received bool, line string) {
		d := Sent
		if received {
			d = Received
		}
		tap(d, maskLine(line))
	}
}

// maskLine gives the line with its password masked. Of a line that cannot be read as a whole only the length is told,
// since what remains of a torn line may hold the password anywhere.
func maskLine(line string) string {
	if line == "OK" || line == "ERROR" {
		return line
	}
	if code, ok := strings.CutPrefix(line, "+CME ERROR: "); ok && !strings.ContainsAny(code, `"\,`) {
		return line
	}
	if cmds, err := at.ParseLine(line); err == nil {
		for i := range cmds {
			cmds[i].Args = maskArgs(cmds[i].Name, cmds[i].Args)
		}
		if s, err := at.PrintLine(cmds...); err == nil {
			return s
		}
	}
	if name, args, err := at.ParseResult(line); err == nil {
		if s, err := at.PrintResult(name, maskArgs(name, args)...); err == nil {
			return s
		}
	}
	return fmt.Sprintf("(%d octets)", len(line))
}

// values are how many values a line with a password has, a %WEBOPCH at most.
var values = map[string]int{nameWebOpen: 8, nameNetPar: 9}

// maskArgs gives the values with the password masked. With a value too many it may have moved to a later place, with one too
// few in a %NETPAR to the one before.
func maskArgs(name string, args []at.Arg) []at.Arg {
	secret, known := secretValue[name]
	first, last := secret, secret
	if n := values[name]; len(args) > n {
		last = len(args)
	} else if name == nameNetPar && len(args) < n {
		first = secret - 1
	}
	out := make([]at.Arg, len(args))
	for i, a := range args {
		if a.Kind == at.String && a.String != "" && (!known || secret >= 0 && i >= first && i <= last) {
			a.String = masked
		}
		out[i] = a
	}
	return out
}
