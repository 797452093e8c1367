package ccidemu

import (
	"fmt"
	"slices"
)

// Violation is one thing that a driver did against the standard.
type Violation struct {
	Clause  string // of the CCID class, revision 1.1, where no other document is named
	Text    string // what is wrong, for people
	Message []byte // the message under judgement
}

func (v Violation) String() string {
	return fmt.Sprintf("CCID %s: %s [%X]", v.Clause, v.Text, v.Message)
}

// maxViolations bounds the list that a reader keeps.
const maxViolations = 1000

// Violations returns what the reader has found wrong with its driver, and the cards with their terminal, so far.
func (r *Reader) Violations() []Violation {
	r.judgement.Lock()
	defer r.judgement.Unlock()
	return slices.Clone(r.violations)
}

// violate records a breach.
func (r *Reader) violate(clause string, message []byte, format string, args ...any) {
	r.judgement.Lock()
	defer r.judgement.Unlock()
	if len(r.violations) < maxViolations {
		r.violations = append(r.violations, Violation{clause, fmt.Sprintf(format, args...), slices.Clone(message)})
	}
}
