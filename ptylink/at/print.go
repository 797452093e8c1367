package at

import (
	"fmt"
	"strconv"
	"strings"
)

// PrintLine prints a command line without its CR: ParseLine of it gives the same commands. What the grammar cannot
// express, or a line longer than MaxLine, is an error that wraps ErrSyntax.
func PrintLine(cmds ...Command) (string, error) {
	if len(cmds) == 0 {
		return "", fmt.Errorf("%w: no command", ErrSyntax)
	}
	if err := checkJoined(cmds); err != nil {
		return "", err
	}
	b := []byte("AT")
	for i, c := range cmds {
		if i > 0 && !cmds[i-1].basic() {
			b = append(b, ';')
		}
		if c.Name == "" && len(cmds) > 1 {
			return "", fmt.Errorf("%w: AT alone joined with another command", ErrSyntax)
		}
		var err error
		if b, err = c.print(b); err != nil {
			return "", err
		}
	}
	return bounded(b)
}

// PrintResult prints an information line or unsolicited result code, the inverse of ParseResult.
func PrintResult(name string, args ...Arg) (string, error) {
	if !(Command{Name: name}).extended() {
		return "", fmt.Errorf("%w: bad name", ErrSyntax)
	}
	b, err := printValues(append([]byte(name), ": "...), args)
	if err != nil {
		return "", err
	}
	return bounded(b)
}

// Quote prints a string constant: the quotation mark, the backslash and all octets outside 20..7e as escapes.
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		if o := s[i]; o < 0x20 || o > 0x7e || o == '"' || o == '\\' {
			fmt.Fprintf(&b, "\\%02X", o)
		} else {
			b.WriteByte(o)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func bounded(b []byte) (string, error) {
	if len(b) > MaxLine {
		return "", fmt.Errorf("%w: line longer than %d octets", ErrSyntax, MaxLine)
	}
	return string(b), nil
}

// print appends the command to b.
func (c Command) print(b []byte) ([]byte, error) {
	if c.Form != Set && len(c.Args) > 0 {
		return nil, fmt.Errorf("%w: values in the %v form", ErrSyntax, c.Form)
	}
	if c.extended() {
		b = append(b, c.Name...)
		switch c.Form {
		case Execute:
			return b, nil
		case Read:
			return append(b, '?'), nil
		case Test:
			return append(b, "=?"...), nil
		case Set:
			return printValues(append(b, '='), c.Args)
		}
		return nil, fmt.Errorf("%w: no such form", ErrSyntax)
	}
	if c.Name == "" && c.Form == Execute {
		return b, nil
	}
	if c.basic() {
		b = append(b, c.Name...)
		if c.parameter() {
			return c.printParameter(b)
		}
		switch {
		case c.Form == Execute:
			return b, nil
		case c.Form == Set && len(c.Args) == 1 && c.Args[0].Kind == Number:
			return strconv.AppendUint(b, c.Args[0].Number, 10), nil
		}
		return nil, fmt.Errorf("%w: a basic command takes one number at most", ErrSyntax)
	}
	return nil, fmt.Errorf("%w: bad command name", ErrSyntax)
}

// printParameter appends what follows the name of an S-parameter.
func (c Command) printParameter(b []byte) ([]byte, error) {
	switch {
	case c.Form == Read:
		return append(b, '?'), nil
	case c.Form == Set && len(c.Args) == 1 && c.Args[0].Kind == Number:
		return strconv.AppendUint(append(b, '='), c.Args[0].Number, 10), nil
	}
	return nil, fmt.Errorf("%w: an S-parameter is read or set to one number", ErrSyntax)
}

func printValues(b []byte, args []Arg) ([]byte, error) {
	if len(args) == 0 || len(args) > MaxArgs {
		return nil, fmt.Errorf("%w: %d values where 1..%d are possible", ErrSyntax, len(args), MaxArgs)
	}
	for i, a := range args {
		if i > 0 {
			b = append(b, ',')
		}
		switch a.Kind {
		case Empty:
		case Number:
			b = strconv.AppendUint(b, a.Number, 10)
		case String:
			b = append(b, Quote(a.String)...)
		default:
			return nil, fmt.Errorf("%w: value of no kind", ErrSyntax)
		}
	}
	return b, nil
}
