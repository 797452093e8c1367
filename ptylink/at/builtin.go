package at

import (
	"context"
	"fmt"
	"slices"
)

// run carries out one command: the server's own, the test form, or the registered handler.
func (v *serving) run(ctx context.Context, c Command) ([]string, error) {
	switch c.Name {
	case "": // AT alone
		return nil, nil
	case "E":
		return nil, v.setEcho(c)
	case "I":
		return v.identify(c)
	case "S3", "S4", "S5":
		return v.parameter(c)
	}
	cmd, known := v.cmds[c.Name]
	if !known {
		return nil, fmt.Errorf("at: unknown command %s", c.Name)
	}
	switch {
	case c.Form == Test && cmd.usage == "":
		return nil, nil
	case c.Form == Test:
		return []string{c.Name + ": " + cmd.usage}, nil
	case c.Name == "+CMEE":
		return v.errorReports(c)
	case c.Name == "+CLAC":
		return v.list(c)
	case c.Name == "+GMI":
		return v.identify(c)
	}
	return cmd.handle(ctx, c)
}

// setEcho is E, E0 and E1, V.250 6.2.4. E alone is E0.
func (v *serving) setEcho(c Command) error {
	var n uint64
	if c.Form == Set {
		n = c.Args[0].Number
	}
	if n > 1 {
		return ErrParameters
	}
	v.echo = n == 1
	return nil
}

// identify is I, I0 and +GMI, V.250 6.1.3 and 6.1.4: who answers, as text without a name in front.
func (v *serving) identify(c Command) ([]string, error) {
	switch {
	case v.cfg.Name == "":
		return nil, ErrNotSupported
	case c.Form == Read, c.Form == Set && (c.Name != "I" || c.Args[0].Number != 0):
		return nil, ErrParameters
	}
	return []string{v.cfg.Name}, nil
}

// parameter is S3, S4 and S5, V.250 6.2.1 to 6.2.3. The end of a line stays CR and LF; the editing character
// is any that a command cannot hold.
func (v *serving) parameter(c Command) ([]string, error) {
	value := map[string]byte{"S3": carriageReturn, "S4": lineFeed, "S5": v.in.erase}[c.Name]
	if c.Form == Read {
		return []string{fmt.Sprintf("%03d", value)}, nil
	}
	n := c.Args[0].Number
	if n > 127 || c.Name != "S5" && n != uint64(value) || c.Name == "S5" && (n == carriageReturn || isText(n)) {
		return nil, ErrParameters
	}
	if c.Name == "S5" {
		v.in.erase = byte(n)
	}
	return nil, nil
}

// isText reports whether a command may hold the octet.
func isText(n uint64) bool { return n >= ' ' && n <= '~' }

// errorReports is +CMEE, 27.007 9.1: 0 plain ERROR, 1 numbers, 2 texts.
func (v *serving) errorReports(c Command) ([]string, error) {
	switch c.Form {
	case Read:
		return []string{fmt.Sprintf("+CMEE: %d", v.cmee)}, nil
	case Set:
		args := NewValues(c.Args)
		n := args.NumberOr("error reports", 0, 2, 0)
		if err := args.End(); err != nil {
			return nil, err
		}
		v.cmee = n
		return nil, nil
	}
	v.cmee = 0 // the execute form sets the default
	return nil, nil
}

// list is +CLAC, 27.007 8.37: the commands there are, one a line.
func (v *serving) list(c Command) ([]string, error) {
	if c.Form != Execute {
		return nil, ErrNotAllowed
	}
	names := []string{"ATE", "ATS3", "ATS4", "ATS5"}
	if v.cfg.Name != "" {
		names = append(names, "ATI")
	}
	for name := range v.cmds {
		names = append(names, "AT"+name)
	}
	slices.Sort(names)
	return names, nil
}
