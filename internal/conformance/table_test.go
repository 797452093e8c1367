package conformance

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
)

var printTable = flag.Bool("table", false, "print the table of all cases at the end")

// minCases is the fewest cases that a whole run has.
const minCases = 150

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if *printTable {
		results.print(os.Stdout)
		if n := len(results.rows); n < minCases && code == 0 {
			fmt.Fprintf(os.Stderr, "only %d cases, want at least %d\n", n, minCases)
			code = 1
		}
	}
	os.Exit(code)
}

// results are the rows of the table, in the order in which the cases ended.
var results table

type table struct {
	mu   sync.Mutex
	rows []row
}

type row struct{ clause, name, verdict, reason string }

func (t *table) add(r row) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, r)
}

// print writes the table; its last line is the count.
func (t *table) print(w io.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	clause, name := 0, 0
	for _, r := range t.rows {
		clause, name = max(clause, len(r.clause)), max(name, len(r.name))
	}
	count := map[string]int{}
	for _, r := range t.rows {
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%-*s  %-*s  %s  %s", clause, r.clause, name, r.name, r.verdict, r.reason), " "))
		count[r.verdict]++
	}
	fmt.Fprintf(w, "conformance %d passed, %d failed, %d skipped\n", count["pass"], count["fail"], count["skip"])
}

// testCase is a subtest that has a row in the table. The first thing that it reports is its reason there.
type testCase struct {
	*testing.T
	mu     sync.Mutex
	reason string
}

// check runs f as a case: its clause or where it comes from, and its name.
func check(t *testing.T, clause, name string, f func(k *testCase)) {
	t.Helper()
	t.Run(clause+" "+name, func(t *testing.T) {
		k := &testCase{T: t}
		defer func() {
			verdict := "pass"
			switch {
			case t.Failed():
				verdict = "fail"
			case t.Skipped():
				verdict = "skip"
			}
			results.add(row{clause, name, verdict, strings.ReplaceAll(k.reason, "\n", " ")})
		}()
		f(k)
	})
}

// note keeps the reason that the table shows.
func (k *testCase) note(format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.reason == "" {
		k.reason = fmt.Sprintf(format, args...)
		if len(k.reason) > 240 {
			k.reason = k.reason[:240] + "..."
		}
	}
}

func (k *testCase) Errorf(format string, args ...any) {
	k.T.Helper()
	k.note(format, args...)
	k.T.Errorf(format, args...)
}

func (k *testCase) Fatalf(format string, args ...any) {
	k.T.Helper()
	k.note(format, args...)
	k.T.Fatalf(format, args...)
}

func (k *testCase) Fatal(err error) { k.T.Helper(); k.Fatalf("%v", err) }

func (k *testCase) Skipf(format string, args ...any) {
	k.T.Helper()
	k.note(format, args...)
	k.T.Skipf(format, args...)
}
