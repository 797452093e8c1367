package cat

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// Commands that are as they should be, to be spoilt. The hex of the first: 81 03 01 40 01, 82 02 81 82, 35 01 03, 39 02 05 78, ...
const (
	goodOpen    = "D0 20 81 03 01 40 03 82 02 81 82 05 00 35 01 03 39 02 05 78 3C 03 02 01 BB 3E 05 21 C0 00 02 01"
	goodSend    = "D0 0E 81 03 01 43 01 82 02 81 21 B6 03 01 02 03"
	goodReceive = "D0 0C 81 03 01 42 00 82 02 81 21 B7 01 ED"
	goodClose   = "D0 09 81 03 01 41 00 82 02 81 21"
	goodTimer   = "D0 11 81 03 01 27 00 82 02 81 82 A4 01 01 A5 03 00 10 00"
	goodEvents  = "D0 0E 81 03 01 05 00 82 02 81 82 99 03 03 09 0A"
	goodPoll    = "D0 0D 81 03 01 03 00 82 02 81 82 84 02 01 1E"
)

// proactive makes a proactive command of its objects in hex.
func proactive(t testing.TB, objects string) []byte {
	return appendTemplate(nil, templateProactive, octets(t, objects))
}

const (
	openHead = "81 03 01 40 01 82 02 81 82 "
	tcp      = "3C 03 02 01 BB 3E 05 21 C0 00 02 01"
)

func TestLintCommand(t *testing.T) {
	for _, tc := range []struct {
		name, command string // a template where it begins with D0, else the objects in one
		severity      Severity
		clause, text  string
	}{
		{"no template", "D1 02 00 00", SeverityError, "TS 101 220 7.2", "not D0"},
		{"length too long", "D0 0A 81 03 01 41 00 82 02 81 21", SeverityError, "TS 101 220 7.1.2", "does not fit"},
		{"octets behind", "D0 09 81 03 01 41 00 82 02 81 21 00", SeverityError, "TS 101 220 7.1.2", "does not fit"},
		{"long template length", "D0 81 09 81 03 01 41 00 82 02 81 21", SeverityWarning, "TS 101 220 7.1.2", "behind D0 is longer"},
		{"long object length", "81 81 03 01 41 00 82 02 81 21", SeverityWarning, "TS 101 220 7.1.2", "command details (01) is longer"},
		{"object cut off", "81 03 01 41 00 82 02 81 21 05 04 41", SeverityError, "TS 101 220 7.1.2", "octet 10 of the value (05)"},
		{"reserved tag", "81 03 01 41 00 82 02 81 21 00 00", SeverityError, "TS 101 220 7.1.1", "octet 10 of the value (00)"},
		{"no details", "82 02 81 82", SeverityError, "8.6", "no command details"},
		{"short details", "81 02 01 02 82 02 81 82", SeverityError, "8.6", "of 2 octets"},
		{"details second", "82 02 81 21 81 03 01 41 00", SeverityError, "6.6", "not the first object"},
		{"details without CR", "01 03 01 41 00 82 02 81 21", SeverityWarning, "6.6", "command details without"},
		{"devices without CR", "81 03 01 41 00 02 02 81 21", SeverityWarning, "6.6", "device identities without"},
		{"no devices", "81 03 01 02 00", SeverityError, "8.7", "no device identities"},
		{"short devices", "81 03 01 02 00 82 01 81", SeverityError, "8.7", "of 1 octets"},
		{"number 0", "81 03 00 02 00 82 02 81 82", SeverityError, "8.6", "command number 00"},
		{"number FF", "81 03 FF 02 00 82 02 81 82", SeverityError, "8.6", "command number FF"},
		{"unknown type", "81 03 01 7E 00 82 02 81 82", SeverityWarning, "9.4", "command type 7E"},
		{"from the terminal", "81 03 01 02 00 82 02 82 81", SeverityError, "8.7", "comes from the UICC"},
		{"text to the terminal", "81 03 01 21 80 82 02 81 82 8D 02 04 41", SeverityError, "6.6.1", "it goes to display"},
		{"open to a channel", "81 03 01 40 01 82 02 81 21 35 01 03 39 02 05 78 " + tcp, SeverityError, "6.6.27", "it goes to terminal"},
		{"close to the terminal", "81 03 01 41 00 82 02 81 82", SeverityError, "6.6.28", "goes to a channel"},
		{"channel 0", "81 03 01 41 00 82 02 81 20", SeverityError, "8.7", "channel 0"},
		{"channel 8", "81 03 01 41 00 82 02 81 28", SeverityError, "8.7", "channel 8"},
		{"open RFU", "81 03 01 40 11 82 02 81 82 35 01 03 39 02 05 78 " + tcp, SeverityError, "8.6", "the bits 10"},
		{"close RFU", "81 03 01 41 02 82 02 81 21", SeverityError, "8.6", "the bits 02"},
		{"receive RFU", "81 03 01 42 01 82 02 81 21 B7 01 ED", SeverityError, "8.6", "the bits 01"},
		{"timer RFU", "81 03 01 27 03 82 02 81 82 A4 01 01", SeverityError, "8.6", "03 of TIMER"},
		{"refresh unknown", "81 03 01 01 40 82 02 81 82", SeverityWarning, "8.6", "no meaning"},
		{"background on demand", "81 03 01 40 04 82 02 81 82 35 01 03 39 02 05 78 " + tcp, SeverityWarning, "8.6", "bit 1 is 0"},
		{"foreign object", "81 03 01 41 00 82 02 81 21 04 02 01 01", SeverityWarning, "6.6.28", "no object duration (04)"},
		{"foreign object with CR", "81 03 01 41 00 82 02 81 21 84 02 01 01", SeverityError, "6.10", "no object duration (04)"},
		{"late object with CR", "81 03 01 41 00 82 02 81 21 05 01 41 D0 04 00 01 00 B4", SeverityWarning, "6.10", "text attribute (50)"},
		{"no data length", "81 03 01 42 00 82 02 81 21", SeverityError, "6.6.29", "channel data length (37)"},
		{"no data", "81 03 01 43 00 82 02 81 21", SeverityError, "6.6.30", "channel data (36)"},
		{"no event list", "81 03 01 05 00 82 02 81 82", SeverityError, "6.6.16", "event list (19)"},
		{"no timer", "81 03 01 27 01 82 02 81 82", SeverityError, "6.6.21", "timer identifier (24)"},
		{"no timer value", "81 03 01 27 00 82 02 81 82 A4 01 01", SeverityError, "6.6.21", "timer value that starting needs"},
		{"no duration", "81 03 01 03 00 82 02 81 82", SeverityError, "6.6.6", "duration (04)"},
		{"no files", "81 03 01 01 01 82 02 81 82", SeverityError, "6.6.13", "file list"},
		{"no language", "81 03 01 35 01 82 02 81 82", SeverityError, "6.6.25", "language"},
		{"no TPDU", "81 03 01 13 00 82 02 81 83", SeverityError, "6.6.9", "SMS TPDU"},
		{"no number", "81 03 01 10 00 82 02 81 83", SeverityError, "6.6.12", "an address"},
		{"item 0", "81 03 01 25 00 82 02 81 82 85 01 41 8F 02 00 41", SeverityError, "6.6.7", "identifier 0: the terminal answers 32"},
		{"no items", "81 03 01 25 00 82 02 81 82 85 01 41", SeverityError, "6.6.7", "item (0F)"},
		{"duration unit", "81 03 01 03 00 82 02 81 82 84 02 03 01", SeverityError, "8.8", "duration 0301"},
		{"duration 0", "81 03 01 03 00 82 02 81 82 84 02 01 00", SeverityError, "8.8", "duration 0100"},
		{"RFU event", "81 03 01 05 00 82 02 81 82 99 02 09 1D", SeverityError, "8.25", "event 1D"},
		{"event twice", "81 03 01 05 00 82 02 81 82 99 02 09 09", SeverityWarning, "8.25", "twice"},
		{"timer 0", "81 03 01 27 01 82 02 81 82 A4 01 00", SeverityError, "8.37", "timer identifier 00"},
		{"timer 9", "81 03 01 27 01 82 02 81 82 A4 01 09", SeverityError, "8.37", "timer identifier 09"},
		{"timer minutes", "81 03 01 27 00 82 02 81 82 A4 01 01 A5 03 00 06 00", SeverityError, "8.38", "timer value 000600"},
		{"timer digits", "81 03 01 27 00 82 02 81 82 A4 01 01 A5 03 00 0A 00", SeverityError, "8.38", "timer value 000A00"},
		{"timer at once", "81 03 01 27 00 82 02 81 82 A4 01 01 A5 03 00 00 00", SeverityWarning, "8.38", "0 seconds"},
		{"receive 0", "81 03 01 42 00 82 02 81 21 B7 01 00", SeverityError, "8.54", "for 0 octets"},
		{"receive 238", "81 03 01 42 00 82 02 81 21 B7 01 EE", SeverityWarning, "8.54", "for 238 octets"},
		{"receive long", "81 03 01 42 00 82 02 81 21 B7 02 00 ED", SeverityError, "8.54", "of 2 octets"},
		{"send nothing", "81 03 01 43 01 82 02 81 21 B6 00", SeverityWarning, "8.53", "no data"},

		{"no bearer", openHead + "39 02 05 78 " + tcp, SeverityError, "6.6.27", "without a bearer description"},
		{"no buffer", openHead + "35 01 03 " + tcp, SeverityError, "6.6.27", "buffer size (39)"},
		{"buffer before bearer", openHead + "39 02 05 78 35 01 03 " + tcp, SeverityError, "6.6.27", "bearer description (35) stands behind buffer size (39)"},
		{"name behind transport", openHead + "35 01 03 39 02 05 78 " + tcp + " 47 04 03 6F 74 61", SeverityError, "6.6.27", "network access name (47) stands behind"},
		{"destination first", openHead + "35 01 03 39 02 05 78 3E 05 21 C0 00 02 01 3C 03 02 01 BB", SeverityError, "6.6.27", "stands behind it"},
		{"two buffers", openHead + "35 01 03 39 02 05 78 39 02 05 78 " + tcp, SeverityError, "6.6.27", "more objects buffer size"},
		{"three texts", openHead + "35 01 03 39 02 05 78 0D 02 F4 61 0D 02 F4 61 0D 02 F4 61 " + tcp, SeverityError, "6.6.27", "more objects text string"},
		{"empty bearer", openHead + "35 00 39 02 05 78 " + tcp, SeverityError, "8.52", "empty bearer"},
		{"reserved bearer", openHead + "35 01 0F 39 02 05 78 " + tcp, SeverityError, "8.52", "type 0F is reserved"},
		{"short GPRS", openHead + "35 01 02 39 02 05 78 " + tcp, SeverityError, "8.52", "at least 6"},
		{"short UTRAN", openHead + "35 07 09 01 02 03 04 05 06 39 02 05 78 " + tcp, SeverityError, "8.52", "at least 17"},
		{"short E-UTRAN", openHead + "35 02 0B 09 39 02 05 78 " + tcp, SeverityError, "8.52", "at least 2"},
		{"long default bearer", openHead + "35 03 03 00 00 39 02 05 78 " + tcp, SeverityWarning, "8.52", "no parameters"},
		{"buffer 0", openHead + "35 01 03 39 02 00 00 " + tcp, SeverityError, "8.55", "buffer size 0"},
		{"buffer of 1", openHead + "35 01 03 39 01 05 " + tcp, SeverityError, "8.55", "of 1 octets"},
		{"buffer swapped", openHead + "35 01 03 39 02 78 05 " + tcp, SeverityWarning, "8.55", "it is 1400"},
		{"buffer swapped, small", openHead + "35 01 03 39 02 00 04 " + tcp, SeverityWarning, "8.55", "it is 1024"},
		{"transport cut", openHead + "35 01 03 39 02 05 78 3C 02 02 50 3E 05 21 C0 00 02 01", SeverityError, "8.59", "of 2 octets"},
		{"transport reserved", openHead + "35 01 03 39 02 05 78 3C 03 07 01 BB 3E 05 21 C0 00 02 01", SeverityError, "8.59", "07 is reserved"},
		{"port 0", openHead + "35 01 03 39 02 05 78 3C 03 01 00 00 3E 05 21 C0 00 02 01", SeverityError, "8.59", "port 0 of a UDP client"},
		{"port swapped", openHead + "35 01 03 39 02 05 78 3C 03 02 50 00 3E 05 21 C0 00 02 01", SeverityWarning, "8.59", "it is 80"},
		{"no destination", openHead + "35 01 03 39 02 05 78 3C 03 02 01 BB", SeverityError, "6.6.27", "without a destination"},
		{"empty destination", openHead + "35 01 03 39 02 05 78 3C 03 02 01 BB 3E 00", SeverityError, "6.6.27", "empty destination"},
		{"address type", openHead + "35 01 03 39 02 05 78 3C 03 02 01 BB 3E 05 20 C0 00 02 01", SeverityError, "8.58", "20C0000201"},
		{"address cut", openHead + "35 01 03 39 02 05 78 3C 03 02 01 BB 3E 04 21 C0 00 02", SeverityError, "8.58", "21C00002"},
		{"no transport", openHead + "35 01 03 39 02 05 78", SeverityWarning, "6.4.27", "packets of its own"},
		{"DNS with transport", "81 03 01 40 09 82 02 81 82 35 01 03 39 02 05 78 " + tcp, SeverityWarning, "6.6.27", "DNS server address request"},
		{"name empty", openHead + "35 01 03 39 02 05 78 47 00 " + tcp, SeverityWarning, "8.70", "empty network access name"},
		{"name with dots", openHead + "35 01 03 39 02 05 78 47 08 03 6F 74 61 2E 6E 65 74 " + tcp, SeverityError, "8.70", "a label of 46 octets"},
		{"name a label with dots", openHead + "35 01 03 39 02 05 78 47 08 07 6F 74 61 2E 6E 65 74 " + tcp, SeverityError, "8.70", "with a dot"},
		{"name plain", openHead + "35 01 03 39 02 05 78 47 03 6F 74 61 " + tcp, SeverityError, "8.70", "octet 1 is no label's length"},
		{"name too long", openHead + "35 01 03 39 02 05 78 47 66 " + strings.Repeat("32 "+strings.Repeat("61 ", 50), 2) + tcp, SeverityError, "8.70", "of 102 octets"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			command := octets(t, tc.command)
			if !strings.HasPrefix(tc.command, "D") {
				command = proactive(t, tc.command)
			}
			found := LintCommand(command, LintContext{})
			if !slices.ContainsFunc(found, func(f Finding) bool {
				return f.Severity == tc.severity && f.Clause == tc.clause && strings.Contains(f.Text, tc.text)
			}) {
				t.Errorf("found %v\nwant %v [%s] %s", found, tc.severity, tc.clause, tc.text)
			}
			if Errors(found) != (tc.severity == SeverityError) {
				t.Errorf("errors %v: %v", Errors(found), found)
			}
			if len(found) > 2 {
				t.Errorf("one fault brings %d findings: %v", len(found), found)
			}
		})
	}
}

// A software card in the field sends number 00, port and buffer size with the low octet first, and the destination before
// the transport level with an empty one behind it. Each of the faults is named.
func TestLintManyFaults(t *testing.T) {
	found := LintCommand(proactive(t, "81 03 00 40 01 82 02 81 82 35 01 03 39 02 78 05 3E 05 21 C0 00 02 01 3C 03 02 50 00 3E 00"), LintContext{})
	for _, want := range []string{"command number 00", "buffer size 30725", "port 20480", "the destination stands behind it"} {
		if !slices.ContainsFunc(found, func(f Finding) bool { return strings.Contains(f.Text, want) }) {
			t.Errorf("%s is not found: %v", want, found)
		}
	}
	if len(found) != 4 {
		t.Errorf("%d findings: %v", len(found), found)
	}
}

func TestLintGood(t *testing.T) {
	full := LintContext{Tracked: true, Profile: slices.Repeat([]byte{0xFF}, 33)}
	full.Channels[1] = LintChannel{Open: true, Buffer: 1400}
	for _, s := range []string{
		goodOpen, goodSend, goodReceive, goodClose, goodTimer, goodEvents, goodPoll,
		"D0 14 81 03 01 40 09 82 02 81 82 05 00 35 01 03 39 02 05 78 ",                                                                   // DNS server address request
		"D0 15 81 03 01 40 01 82 02 81 82 39 02 05 78 3C 03 03 1F 90 68 01 00",                                                           // TCP in UICC server mode
		"D0 38 81 03 01 40 01 82 02 81 82 35 07 02 03 04 03 04 1F 02 39 02 05 DC 47 04 03 6F 74 61 3E 00 0D 02 F4 61 0D 02 F4 62 " + tcp, // all that a client may have
	} {
		b := octets(t, s)
		for _, ctx := range []LintContext{{}, full} {
			if found := LintCommand(appendTemplate(nil, b[0], b[2:]), ctx); found != nil {
				t.Errorf("%s: %v", s, found)
			}
		}
	}
}

func TestLintProfile(t *testing.T) {
	none := LintContext{Profile: Profile(FacilitySetUpEventList, FacilityOpenChannel)}
	for _, tc := range []struct{ command, text string }{
		{goodPoll, "does not offer POLL INTERVAL (octet 3 bit 6)"},
		{goodEvents, "does not offer the event Data available (octet 6 bit 3)"},
		{goodOpen, "does not offer TCP client (octet 17 bit 1)"},
		{"D0 1B 81 03 01 40 01 82 02 81 82 35 01 0A 39 02 05 78 " + tcp, "does not offer the bearer WLAN (octet 30 bit 1)"},
		{"D0 12 81 03 01 40 08 82 02 81 82 35 01 03 39 02 05 78", "does not offer DNS server address requests (octet 33 bit 1)"},
	} {
		b := octets(t, tc.command)
		found := LintCommand(appendTemplate(nil, b[0], b[2:]), none)
		if !slices.ContainsFunc(found, func(f Finding) bool { return f.Clause == "5.2" && strings.Contains(f.Text, tc.text) }) || Errors(found) {
			t.Errorf("%s: %v", tc.command, found)
		}
	}
}

// The channels are learned from commands and responses.
func TestLintChannels(t *testing.T) {
	ctx := LintContext{Tracked: true}
	dst := netip.MustParseAddr("192.0.2.1")
	open := NewCommand(1, OpenImmediate, &OpenChannel{Bearer: &BearerDescription{Type: BearerDefault}, BufferSize: 300,
		Transport: &TransportLevel{TCPClientRemote, 443}, Destination: &dst})
	send := func(n int, qualifier byte) Command {
		return NewChannelCommand(2, qualifier, 2, &SendData{Data: make([]byte, n)})
	}
	closing := NewChannelCommand(3, 0, 2, &CloseChannel{})
	granted := []TLV{ChannelStatusObject(ChannelStatus{Channel: 2, Link: LinkEstablished}), BufferSizeObject(200)}
	refused := Result{ResultBIPError, []byte{BIPNoSpecificCause}}
	for i, step := range []struct {
		command Command
		result  Result
		objects []TLV
		finding string
	}{
		{closing, Result{ResultBIPError, []byte{BIPChannelInvalid}}, nil, "channel 2, which is not open"},
		{open, refused, nil, ""},
		{send(1, SendImmediately), Result{ResultBIPError, []byte{BIPChannelInvalid}}, nil, "channel 2, which is not open"},
		{open, Result{General: ResultModified}, granted, ""},
		{send(201, SendImmediately), refused, nil, "granted a buffer of 200"},
		{send(150, 0), OK, nil, ""},
		{send(51, SendImmediately), refused, nil, "with 150 stored before"},
		{send(50, SendImmediately), OK, nil, ""},
		{send(200, SendImmediately), OK, nil, ""},
		{closing, OK, nil, ""},
		{closing, refused, nil, "channel 2, which is not open"},
	} {
		raw := step.command.Append(nil)
		found := LintCommand(raw, ctx)
		if (step.finding == "") != (found == nil) || found != nil && !strings.Contains(found[0].Text, step.finding) {
			t.Errorf("step %d: %v, want %q", i, found, step.finding)
		}
		ctx.Learn(raw, Respond(step.command, step.result, step.objects...).Append(nil))
	}
}

// Whatever comes, what is found has a clause and a text, and no error is found in what a faultless codec made of it but
// in what it means.
func FuzzLintCommand(f *testing.F) {
	for _, s := range []string{goodOpen, goodSend, goodReceive, goodClose, goodTimer, goodEvents, goodPoll, "D0 81 09 81 03 00 41 00 82 02 81 28"} {
		f.Add(octets(f, s), []byte{0xFF, 0xFF})
	}
	f.Fuzz(func(t *testing.T, b, profile []byte) {
		before := slices.Clone(b)
		ctx := LintContext{Profile: profile, Tracked: true}
		found := LintCommand(b, ctx)
		if !slices.Equal(b, before) {
			t.Fatal("the command was changed")
		}
		for _, x := range found {
			if x.Clause == "" || x.Text == "" || strings.Contains(x.Text, "%!") {
				t.Fatalf("finding %#v", x)
			}
		}
		if _, err := ParseCommand(b); err != nil && !Errors(LintCommand(b, LintContext{})) {
			t.Fatalf("%X is refused: %v, but nothing is found", b, err)
		}
		ctx.Learn(b, b)
	})
}
