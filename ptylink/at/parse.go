package at

import (
	"fmt"
	"strconv"
	"strings"
)

// ParseLine parses a command line without its CR: AT, then commands. AT alone gives one Command with no name. Basic
// commands follow each other directly or behind a semicolon, after an extended one the semicolon is required (V.250
// 5.2.2, 5.4.5); a command with the prefix % must be the only one. Blanks outside strings have no meaning, but must not
// stand within a number (V.250 5.2.2).
func ParseLine(line string) ([]Command, error) {
	if len(line) > MaxLine {
		return nil, fmt.Errorf("%w: line longer than %d octets", ErrSyntax, MaxLine)
	}
	if !startsWithAT(line) {
		return nil, fmt.Errorf("%w: line does not start with AT", ErrSyntax)
	}
	line, err := withoutBlanks(line)
	if err != nil {
		return nil, err
	}
	p := parser{s: line, i: 2}
	if p.end() {
		return []Command{{}}, nil
	}
	var cmds []Command
	for {
		c, err := p.command()
		if err != nil {
			return nil, err
		}
		cmds = append(cmds, c)
		if p.end() {
			return cmds, checkJoined(cmds)
		}
		if !p.skip(';') && !c.basic() {
			return nil, p.fail("surplus characters after a command")
		}
	}
}

// checkJoined refuses a manufacturer's command beside any other.
func checkJoined(cmds []Command) error {
	if len(cmds) == 1 {
		return nil
	}
	for _, c := range cmds {
		if strings.HasPrefix(c.Name, "%") {
			return fmt.Errorf("%w: %s must be alone on its line", ErrSyntax, c.Name)
		}
	}
	return nil
}

// withoutBlanks takes the blanks outside strings away. A blank between two digits is an error, since two numbers would
// become one.
func withoutBlanks(line string) (string, error) {
	if strings.IndexByte(line, ' ') < 0 {
		return line, nil
	}
	b := make([]byte, 0, len(line))
	quoted, blank := false, false
	for i := range len(line) {
		o := line[i]
		if o == ' ' && !quoted {
			blank = true
			continue
		}
		if blank && isDigit(o) && len(b) > 0 && isDigit(b[len(b)-1]) {
			return "", fmt.Errorf("%w: blank within a number at octet %d", ErrSyntax, i)
		}
		blank = false
		quoted = quoted != (o == '"') // a quotation mark within a string is written as an escape
		b = append(b, o)
	}
	return string(b), nil
}

// ParseResult parses an information line or an unsolicited result code of the form "<name>: <value>[,<value>...]". Blanks
// outside strings may be more or fewer, for modems differ.
func ParseResult(line string) (name string, args []Arg, err error) {
	if len(line) > MaxLine {
		return "", nil, fmt.Errorf("%w: line longer than %d octets", ErrSyntax, MaxLine)
	}
	name = ResultName(line)
	if name == "" {
		return "", nil, fmt.Errorf("%w: no name and colon at the start", ErrSyntax)
	}
	values, err := withoutBlanks(line[len(name)+1:])
	if err != nil {
		return "", nil, err
	}
	p := parser{s: values}
	if p.end() {
		return "", nil, p.fail("no value after the colon")
	}
	args, err = p.values()
	if err == nil && !p.end() {
		err = p.fail("surplus characters after a value")
	}
	if err != nil {
		return "", nil, err
	}
	return name, args, nil
}

// ResultName gives the name at the start of an information line, before the colon, or "" where there is none.
func ResultName(line string) string {
	name, _, found := strings.Cut(line, ":")
	if !found || !(Command{Name: name}).extended() {
		return ""
	}
	return name
}

// parser walks over one line.
type parser struct {
	s string
	i int
}

func (p *parser) end() bool { return p.i >= len(p.s) }

// skip passes over one octet if it is b.
func (p *parser) skip(b byte) bool {
	if p.end() || p.s[p.i] != b {
		return false
	}
	p.i++
	return true
}

// fail names the place, never the content.
func (p *parser) fail(what string) error {
	return fmt.Errorf("%w: %s at octet %d", ErrSyntax, what, p.i)
}

func (p *parser) command() (Command, error) {
	if p.end() {
		return Command{}, p.fail("no command after a semicolon")
	}
	switch b := upper(p.s[p.i]); {
	case b == '+' || b == '%':
		return p.extended()
	case b == '&' || isLetter(b):
		return p.basic()
	}
	return Command{}, p.fail("no command name")
}

// basic parses a basic command: [&]<letter>[<number>], V.250 5.3.1.
func (p *parser) basic() (Command, error) {
	start := p.i
	p.skip('&')
	if p.end() || !isLetter(upper(p.s[p.i])) {
		return Command{}, p.fail("no letter after &")
	}
	p.i++
	c := Command{Name: strings.ToUpper(p.s[start:p.i])}
	if p.end() || !isDigit(p.s[p.i]) {
		return c, nil
	}
	n, err := p.number()
	if err != nil {
		return Command{}, err
	}
	if c.Name == "S" {
		return p.parameter(n.Number)
	}
	c.Form, c.Args = Set, []Arg{n}
	return c, nil
}

// parameter parses what follows the number of an S-parameter: ? or = and a number, V.250 5.3.2.
func (p *parser) parameter(number uint64) (Command, error) {
	c := Command{Name: "S" + strconv.FormatUint(number, 10), Form: Read}
	if !c.parameter() {
		return Command{}, p.fail("no such S-parameter")
	}
	if p.skip('?') {
		return c, nil
	}
	if !p.skip('=') || p.end() || !isDigit(p.s[p.i]) {
		return Command{}, p.fail("S-parameter without ? or a value")
	}
	n, err := p.number()
	if err != nil {
		return Command{}, err
	}
	c.Form, c.Args = Set, []Arg{n}
	return c, nil
}

// extended parses a command of the extended syntax with its form and values, V.250 5.4.
func (p *parser) extended() (Command, error) {
	start := p.i
	p.i++
	for !p.end() && isNameOctet(upper(p.s[p.i])) {
		p.i++
	}
	c := Command{Name: strings.ToUpper(p.s[start:p.i])}
	if !c.extended() {
		return Command{}, p.fail("bad command name")
	}
	switch {
	case p.skip('?'):
		c.Form = Read
	case p.skip('='):
		if p.skip('?') {
			c.Form = Test
			break
		}
		c.Form = Set
		var err error
		if c.Args, err = p.values(); err != nil {
			return Command{}, err
		}
	}
	return c, nil
}

// values parses a list of one value or more up to its end; values may be left out, their commas may not.
func (p *parser) values() ([]Arg, error) {
	var args []Arg
	for {
		if len(args) == MaxArgs {
			return nil, p.fail("too many values")
		}
		a, err := p.value()
		if err != nil {
			return nil, err
		}
		args = append(args, a)
		if !p.skip(',') {
			return args, nil
		}
	}
}

func (p *parser) value() (Arg, error) {
	switch {
	case p.end():
		return Arg{}, nil
	case p.s[p.i] == '"':
		return p.quoted()
	case isDigit(p.s[p.i]):
		return p.number()
	}
	return Arg{}, nil // left out, or an octet that the caller will refuse
}

// number parses a decimal number that fits 64 bits: no sign, no blanks, V.250 5.3.1.
func (p *parser) number() (Arg, error) {
	start := p.i
	for !p.end() && isDigit(p.s[p.i]) {
		p.i++
	}
	n, err := strconv.ParseUint(p.s[start:p.i], 10, 64)
	if err != nil {
		return Arg{}, p.fail("number too large")
	}
	return Num(n), nil
}

// quoted parses a string constant, V.250 5.4.2.2: octets 20..7e but " and \, any octet as \ and two hexadecimal digits.
func (p *parser) quoted() (Arg, error) {
	p.i++
	var b strings.Builder
	for !p.end() {
		switch o := p.s[p.i]; {
		case o == '"':
			p.i++
			return Str(b.String()), nil
		case o == '\\':
			if p.i+3 > len(p.s) {
				return Arg{}, p.fail("escape cut short")
			}
			// ParseUint would take a sign or an underscore in other settings; with base 16 and two octets it takes neither.
			n, err := strconv.ParseUint(p.s[p.i+1:p.i+3], 16, 8)
			if err != nil {
				return Arg{}, p.fail("escape without two hexadecimal digits")
			}
			b.WriteByte(byte(n))
			p.i += 3
		case o < 0x20 || o > 0x7e: // 7f edits the line
			return Arg{}, p.fail("octet that needs an escape")
		default:
			b.WriteByte(o)
			p.i++
		}
	}
	return Arg{}, p.fail("open string")
}
