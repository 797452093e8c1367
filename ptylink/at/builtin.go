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
	names := []string{"ATE"}
	for name := range v.cmds {
		names = append(names, "AT"+name)
	}
	slices.Sort(names)
	return names, nil
}
