package trace

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// walk makes one event for each message of the method's table.
func walk(m Method, channel int) []Event {
	var events []Event
	for _, s := range m.Steps() {
		events = append(events, Event{Channel: channel, Step: s.Name, From: s.From, To: s.To, What: s.What})
	}
	return events
}

func TestStepTables(t *testing.T) {
	for _, tc := range []struct {
		method      Method
		first, last int
	}{{Method1, 401, 415}, {Method2, 701, 718}} {
		var want []string
		for n := tc.first; n <= tc.last; n++ {
			want = append(want, fmt.Sprintf("S%d", n))
		}
		if got := tc.method.stepNames(); !slices.Equal(got, want) {
			t.Errorf("%v: steps %v, want %v", tc.method, got, want)
		}
		for _, s := range tc.method.Steps() {
			if s.From == s.To || s.From.rank() < 0 || s.To.rank() < 0 || s.What == "" {
				t.Errorf("%v: bad entry %+v", tc.method, s)
			}
			if tc.method == Method2 && (s.From == CP && s.To == Server || s.From == Server && s.To == CP) {
				t.Errorf("%s: the CP has no way to the server in method 2", s.Name)
			}
		}
	}
	if Method(3).Steps() != nil {
		t.Error("an unknown method has steps")
	}
	Method1.Steps()[0].Name = "broken"
	if method1Steps[0].Name != "S401" {
		t.Error("Steps gives away the table itself")
	}
}

func TestCheckOrder(t *testing.T) {
	swap := func(events []Event, a, b string) []Event {
		i := slices.IndexFunc(events, func(e Event) bool { return e.Step == a })
		j := slices.IndexFunc(events, func(e Event) bool { return e.Step == b })
		events[i], events[j] = events[j], events[i]
		return events
	}
	without := func(events []Event, step string) []Event {
		return slices.DeleteFunc(events, func(e Event) bool { return e.Step == step })
	}
	repeated := walk(Method1, 1)
	repeated = slices.Insert(repeated, 14, repeated[7:14]...) // the data steps once more, S412 before S407
	nameless := walk(Method2, 3)
	nameless[0].Channel = 0
	failed := walk(Method2, 1)
	failed[3].Err = "connection refused"

	for _, tc := range []struct {
		name    string
		events  []Event
		method  Method
		channel int
		want    []string // parts of the error; none = no error
	}{
		{"method 1", walk(Method1, 1), Method1, 1, nil},
		{"method 2", walk(Method2, 7), Method2, 7, nil},
		{"repeated data", repeated, Method1, 1, nil},
		{"two channels", append(walk(Method2, 2), walk(Method1, 1)...), Method1, 1, nil},
		{"opening without a channel", nameless, Method2, 3, nil},
		{"missing", without(walk(Method1, 1), "S406"), Method1, 1, []string{"S406 is missing", "link established"}},
		{"early", swap(walk(Method2, 1), "S705", "S703"), Method2, 1,
			[]string{"channel 1, method 2", "S704 came too early: before S703", "S705 came too early"}},
		{"failed step", failed, Method2, 1, []string{"S703 is missing"}},
		{"another channel", walk(Method1, 2), Method1, 1, []string{"S402 is missing"}},
		{"nothing", nil, Method1, 1, []string{"S401 is missing", "S415 is missing", "no step at all"}},
		{"unknown method", walk(Method1, 1), 9, 1, []string{"method 9"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := CheckOrder(tc.events, tc.method, tc.channel)
			if (err != nil) != (tc.want != nil) {
				t.Fatalf("error %v", err)
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in %q", part, err)
				}
			}
		})
	}
}
