package trace

import (
	"fmt"
	"slices"
	"strings"
)

// Method tells which processor has the TCP/IP stack that carries a channel.
type Method int

const (
	// Method1 is the method in which the CP has the stack. Its steps are S401 to S415.
	Method1 Method = 1
	// Method2 is the method in which the AP has the stack. Its steps are S701 to S718.
	Method2 Method = 2
)

// String gives "method 1", "method 2", or the number of an unknown value.
func (m Method) String() string { return fmt.Sprintf("method %d", int(m)) }

// Step is one message of a method: who sends it to whom, and what it is. A step that has two messages, such as a
// command and its TERMINAL RESPONSE, is two entries of the table with the same name.
type Step struct {
	Name     string // "S401"; the value of Event.Step
	From, To Party
	What     string
}

// method1Steps is a channel whose connection the CP makes, in background mode (ETSI TS 102 223 clause 6.4.27.2).
var method1Steps = []Step{
	{"S401", UICC, CP, "FETCH: OPEN CHANNEL"},
	{"S402", CP, UICC, "TERMINAL RESPONSE: the channel identifier"},
	{"S402", CP, AP, "AT%GETNET: ask for the network parameters"},
	{"S403", AP, CP, "%NETPAR: access point, user, password, DNS servers"},
	{"S404", CP, Server, "TCP connect through the CP's own stack"},
	{"S405", Server, CP, "TCP connection accepted"},
	{"S406", CP, UICC, "ENVELOPE: Channel status, link established"},
	{"S407", UICC, CP, "FETCH: SEND DATA"},
	{"S407", CP, UICC, "TERMINAL RESPONSE: room left in the Tx buffer"},
	{"S408", CP, Server, "TCP data from the UICC"},
	{"S409", Server, CP, "TCP data for the UICC"},
	{"S410", CP, UICC, "ENVELOPE: Data available"},
	{"S411", UICC, CP, "FETCH: RECEIVE DATA"},
	{"S412", CP, UICC, "TERMINAL RESPONSE: the data"},
	{"S413", UICC, CP, "FETCH: CLOSE CHANNEL"},
	{"S414", CP, UICC, "TERMINAL RESPONSE: channel closed"},
	{"S415", CP, Server, "TCP close"},
	{"S415", Server, CP, "closed by the server"},
}

// method2Steps is a channel whose connection the AP makes, in background mode.
var method2Steps = []Step{
	{"S701", UICC, CP, "FETCH: OPEN CHANNEL"},
	{"S702", CP, UICC, "TERMINAL RESPONSE: the channel identifier"},
	{"S702", CP, AP, "AT%WEBOPCH: open a connection for the channel"},
	{"S703", AP, Server, "TCP connect by the AP's proxy"},
	{"S704", Server, AP, "TCP connection accepted"},
	{"S705", AP, CP, "OK"},
	{"S706", CP, UICC, "ENVELOPE: Channel status, link established"},
	{"S707", UICC, CP, "FETCH: SEND DATA"},
	{"S707", CP, UICC, "TERMINAL RESPONSE: room left in the Tx buffer"},
	{"S708", CP, AP, "data on the channel's DLC"},
	{"S709", AP, Server, "TCP data from the UICC"},
	{"S710", Server, AP, "TCP data for the UICC"},
	{"S711", AP, CP, "data on the channel's DLC"},
	{"S712", CP, UICC, "ENVELOPE: Data available"},
	{"S713", UICC, CP, "FETCH: RECEIVE DATA"},
	{"S714", CP, UICC, "TERMINAL RESPONSE: the data"},
	{"S715", UICC, CP, "FETCH: CLOSE CHANNEL"},
	{"S716", CP, UICC, "TERMINAL RESPONSE: channel closed"},
	{"S717", CP, AP, "AT%WEBCLCH: close the connection"},
	{"S718", AP, Server, "TCP close"},
}

// Steps gives a copy of the method's table in its order; nil for an unknown method.
func (m Method) Steps() []Step {
	switch m {
	case Method1:
		return slices.Clone(method1Steps)
	case Method2:
		return slices.Clone(method2Steps)
	}
	return nil
}

// stepNames gives the names of the method's steps, each once, in order.
func (m Method) stepNames() []string {
	var names []string
	for _, s := range m.Steps() {
		names = append(names, s.Name)
	}
	return slices.Compact(names)
}

// stepMeaning explains a step number by its table, all its messages in one line; "" for an unknown one.
func stepMeaning(name string) string {
	var parts []string
	for _, s := range slices.Concat(method1Steps, method2Steps) {
		if s.Name == name {
			parts = append(parts, fmt.Sprintf("%s to %s: %s", s.From, s.To, s.What))
		}
	}
	return strings.Join(parts, "; ")
}

// CheckOrder says whether one channel went through its method as the table has it: each step occurs, and the steps'
// first occurrences come in the table's order. A step may repeat, and later repeats may come anywhere. The error
// names each step that is missing or came too early.
//
// The events are taken in the order given (see Merge) and should be one card's: the channel number alone does not
// tell two cards apart. The first step precedes the channel's number, so it also counts when its event has none. An
// event that reports a failure does not fulfil its step. The tables are those of background mode: a channel opened
// with immediate or on-demand link establishment has no Channel status event for a success. An error says too whether
// events were lost.
func CheckOrder(events []Event, method Method, channel int) error {
	names := method.stepNames()
	if names == nil {
		return fmt.Errorf("trace: %v has no table of steps", method)
	}
	first := firstOccurrences(events, names[0], channel)
	var faults []string
	last := "" // the step of the table seen so far that came latest
	for _, name := range names {
		at, ok := first[name]
		switch {
		case !ok:
			faults = append(faults, fmt.Sprintf("%s is missing (%s)", name, stepMeaning(name)))
		case last != "" && at < first[last]:
			faults = append(faults, fmt.Sprintf("%s came too early: before %s (%s)", name, last, stepMeaning(name)))
		default:
			last = name
		}
	}
	if faults == nil {
		return nil
	}
	if text := holes(events); text != "" {
		faults = append(faults, text)
	}
	return fmt.Errorf("trace: channel %d, %v: %s; seen: %s", channel, method, strings.Join(faults, ", "), seen(first))
}

// firstOccurrences maps each step of the channel to the index of its first event.
func firstOccurrences(events []Event, opening string, channel int) map[string]int {
	first := make(map[string]int)
	for i, e := range events {
		if e.Step == "" || e.Err != "" {
			continue
		}
		if e.Channel != channel && !(e.Channel == 0 && e.Step == opening) {
			continue
		}
		if _, ok := first[e.Step]; !ok {
			first[e.Step] = i
		}
	}
	return first
}

// seen lists the steps by their first occurrence.
func seen(first map[string]int) string {
	if len(first) == 0 {
		return "no step at all"
	}
	names := make([]string, 0, len(first))
	for name := range first {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return first[a] - first[b] })
	return strings.Join(names, " ")
}
