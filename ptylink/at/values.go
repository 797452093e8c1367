package at

import "fmt"

// Values takes the values of a command or an information line one after the other. The first value that does not fit
// makes Err tell so; all that are taken after it are zero. An error names the value's meaning, never its content, and
// is ErrParameters, so that a handler can return it as it is.
type Values struct {
	args []Arg
	i    int
	err  error
}

// NewValues starts at the first of args.
func NewValues(args []Arg) *Values { return &Values{args: args} }

// More reports whether any value is left, be it an empty one.
func (v *Values) More() bool { return v.i < len(v.args) }

// Number takes a number in low..high.
func (v *Values) Number(what string, low, high uint64) uint64 {
	a := v.next()
	if v.err == nil && (a.Kind != Number || a.Number < low || a.Number > high) {
		v.fail(what, fmt.Sprintf("is not a number in %d..%d", low, high))
	}
	if v.err != nil {
		return 0
	}
	return a.Number
}

// NumberOr is Number, or def where the value is left out or the list has ended.
func (v *Values) NumberOr(what string, low, high, def uint64) uint64 {
	if v.absent() {
		return def
	}
	return v.Number(what, low, high)
}

// Text takes a string of at most max octets without NUL, CR and LF.
func (v *Values) Text(what string, max int) string {
	a := v.next()
	switch {
	case v.err != nil:
		return ""
	case a.Kind != String:
		v.fail(what, "is not a string")
	default:
		if err := CheckText(what, a.String, max); err != nil {
			v.err = err
		}
	}
	if v.err != nil {
		return ""
	}
	return a.String
}

// TextOr is Text, or "" where the value is left out or the list has ended.
func (v *Values) TextOr(what string, max int) string {
	if v.absent() {
		return ""
	}
	return v.Text(what, max)
}

// End reports the first error, or that there are values left.
func (v *Values) End() error {
	if v.err == nil && v.More() {
		return fmt.Errorf("%w: %d values too many", ErrParameters, len(v.args)-v.i)
	}
	return v.err
}

// CheckText reports a string that is longer than max octets or holds NUL, CR or LF. Both ends apply it: such a string
// is neither sent nor accepted.
func CheckText(what, s string, max int) error {
	if len(s) > max {
		return fmt.Errorf("%w: %s is longer than %d octets", ErrParameters, what, max)
	}
	for i := 0; i < len(s); i++ {
		if s[i] == 0 || s[i] == '\r' || s[i] == '\n' {
			return fmt.Errorf("%w: %s holds NUL, CR or LF", ErrParameters, what)
		}
	}
	return nil
}

// absent passes over an empty value.
func (v *Values) absent() bool {
	if v.err != nil || !v.More() {
		return true
	}
	if v.args[v.i].Kind == Empty {
		v.i++
		return true
	}
	return false
}

func (v *Values) next() Arg {
	if !v.More() {
		return Arg{}
	}
	v.i++
	return v.args[v.i-1]
}

func (v *Values) fail(what, why string) {
	v.err = fmt.Errorf("%w: %s %s", ErrParameters, what, why)
}
