// Package at speaks the AT command grammar of ITU-T V.250 with the extended syntax of 3GPP TS 27.007: a strict parser
// and printer of command lines and result codes, the side that sends commands (Client) and the side that answers them
// (Server). It knows no command but its own few (AT, E, I, S3 to S5, +GMI, +CMEE, +CLAC): the others are registered by
// whoever serves them.
package at

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
)

// Limits of the grammar, ours: V.250 5.2.1 leaves the length of a line to the implementer.
const (
	MaxLine = 2048 // octets of a command line or of a result code, without its CR
	MaxArgs = 32   // values of one command or one information line
	maxName = 17   // prefix and name, V.250 5.4.1
)

// ErrSyntax is what every error of the parser and of the printer wraps. None of them repeats a value of the line, for
// the value may be a password.
var ErrSyntax = errors.New("at: syntax error")

// Form is the form of a command, V.250 5.4.3 and 5.4.4.
type Form int

const (
	Execute Form = iota // X
	Read                // X?
	Test                // X=?
	Set                 // X=<value>[,<value>...]
)

func (f Form) String() string {
	switch f {
	case Execute:
		return "execute"
	case Read:
		return "read"
	case Test:
		return "test"
	case Set:
		return "set"
	}
	return "form " + strconv.Itoa(int(f))
}

// ArgKind tells what a value is.
type ArgKind int

const (
	Empty  ArgKind = iota // left out: only its comma is there
	Number                // decimal digits
	String                // in quotation marks
)

// Arg is one value of a command or of an information line. The zero value is one that was left out. An Arg prints with
// its string masked, since it may be a password.
type Arg struct {
	Kind   ArgKind
	Number uint64
	String string // unescaped, any octets
}

// Num makes a numeric value.
func Num(n uint64) Arg { return Arg{Kind: Number, Number: n} }

// Str makes a string value.
func Str(s string) Arg { return Arg{Kind: String, String: s} }

// Format masks the string in every verb.
func (a Arg) Format(f fmt.State, _ rune) {
	switch a.Kind {
	case Number:
		fmt.Fprintf(f, "%d", a.Number)
	case String:
		fmt.Fprint(f, `"***"`)
	}
}

// Command is one command of a line.
type Command struct {
	// Name is in upper case with its prefix: "%GETNET", "+CMUX"; a basic command "E"; an S-parameter "S5"; "" for AT alone.
	Name string
	Form Form
	Args []Arg // Set only; a basic command's number ("E0") is its only value
}

// String is for logs: every string value is masked.
func (c Command) String() string {
	var b strings.Builder
	b.WriteString("AT" + c.Name)
	switch c.Form {
	case Read:
		b.WriteByte('?')
	case Test:
		b.WriteString("=?")
	case Set:
		if !c.basic() || c.parameter() {
			b.WriteByte('=')
		}
		for i, a := range c.Args {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprint(&b, a)
		}
	}
	return b.String()
}

// LogValue is String: the values of a command are never logged.
func (c Command) LogValue() slog.Value { return slog.StringValue(c.String()) }

// basic reports whether the name is one of the basic syntax, V.250 5.3: a letter, & and a letter, or an S-parameter.
func (c Command) basic() bool {
	n := strings.TrimPrefix(c.Name, "&")
	return len(n) == 1 && isLetter(n[0]) || c.parameter()
}

// parameter reports whether the name is that of an S-parameter, V.250 5.3.2: S and a number without leading zeros.
func (c Command) parameter() bool {
	number, ok := strings.CutPrefix(c.Name, "S")
	n, err := strconv.ParseUint(number, 10, 8)
	return ok && err == nil && strconv.FormatUint(n, 10) == number
}

// extended reports whether the name is one of the extended syntax, V.250 5.4.1: + (standard) or % (manufacturer), a
// letter, then characters of the name, 17 in all at most. The colon that V.250 allows there is refused: it ends the
// name in an information line.
func (c Command) extended() bool {
	n := c.Name
	if len(n) < 2 || len(n) > maxName || (n[0] != '+' && n[0] != '%') || !isLetter(n[1]) {
		return false
	}
	for i := 2; i < len(n); i++ {
		if !isNameOctet(n[i]) {
			return false
		}
	}
	return true
}

func isLetter(b byte) bool { return b >= 'A' && b <= 'Z' }

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

func isNameOctet(b byte) bool {
	return isLetter(b) || isDigit(b) || strings.IndexByte("!%-./_", b) >= 0
}

// upper is the upper case of an ASCII letter: names are case-blind, V.250 5.4.1.
func upper(b byte) byte {
	if b >= 'a' && b <= 'z' {
		return b - 'a' + 'A'
	}
	return b
}

// startsWithAT reports whether the line has the prefix of a command line, V.250 5.2.1, in any case.
func startsWithAT[T string | []byte](line T) bool {
	return len(line) >= 2 && upper(line[0]) == 'A' && upper(line[1]) == 'T'
}
