package cat

import (
	"errors"
	"fmt"
	"testing"
)

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }

// checkResult fails unless err tells the card the result.
func checkResult(t testing.TB, err error, want GeneralResult) {
	t.Helper()
	var re *ResultError
	if !errors.As(err, &re) {
		t.Errorf("error %v is no *ResultError", err)
		return
	}
	if re.Result.General != want {
		t.Errorf("result %02X (%v), want %02X", byte(re.Result.General), err, byte(want))
	}
}

// TestRefusals has commands that are to be refused: what the card is told, and whether its command details could be read.
func TestRefusals(t *testing.T) {
	const (
		open  = "81 03 05 40 01 82 02 81 82"
		other = "82 02 81 82"
	)
	details := CommandDetails{5, TypeOpenChannel, 1}
	tests := []struct {
		name, body string
		raw        bool // body is the whole command
		want       GeneralResult
		details    CommandDetails
	}{
		{"nothing", "", true, ResultDataNotUnderstood, CommandDetails{}},
		{"other template", "D1 00", true, ResultDataNotUnderstood, CommandDetails{}},
		{"template without length", "D0", true, ResultDataNotUnderstood, CommandDetails{}},
		{"template longer than the data", "D0 20" + open, true, ResultDataNotUnderstood, details},
		{"template longer than the data, 81 form", "D0 81 F0" + open, true, ResultDataNotUnderstood, details},
		{"template shorter than the data", "D0 05" + open, true, ResultDataNotUnderstood, details},
		{"no details", other, false, ResultDataNotUnderstood, CommandDetails{}},
		{"details of two octets", "81 02 05 40" + other, false, ResultDataNotUnderstood, CommandDetails{}},
		{"details of four octets", "81 04 05 40 01 00" + other, false, ResultDataNotUnderstood, CommandDetails{}},
		{"no device identities", "81 03 05 40 01 35 01 03", false, ResultValuesMissing, details},
		{"device identities of one octet", "81 03 05 40 01 82 01 81", false, ResultDataNotUnderstood, details},
		{"object cut off", open + "35 01 03 39 02 05 78 3C 03 02 01 BB 3E 05", false, ResultDataNotUnderstood, details},
		{"reserved tag", open + "00 00", false, ResultDataNotUnderstood, details},
		{"no bearer", open + "39 02 05 78 3C 03 02 01 BB 3E 05 21 7F 01 02 03", false, ResultValuesMissing, details},
		{"empty bearer", open + "35 00 39 02 05 78", false, ResultDataNotUnderstood, details},
		{"no buffer size", open + "35 01 03 3C 03 02 01 BB 3E 05 21 7F 01 02 03", false, ResultValuesMissing, details},
		{"buffer size of one octet", open + "35 01 03 39 01 05", false, ResultDataNotUnderstood, details},
		{"no destination", open + "35 01 03 39 02 05 78 3C 03 02 01 BB", false, ResultValuesMissing, details},
		{"null destination", open + "35 01 03 39 02 05 78 3C 03 02 01 BB 3E 00", false, ResultValuesMissing, details},
		{"destination before the transport level", open + "35 01 03 39 02 05 78 3E 05 21 7F 01 02 03 3C 03 01 00 35", false, ResultValuesMissing, details},
		{"transport level of two octets", open + "35 01 03 39 02 05 78 3C 02 02 01", false, ResultDataNotUnderstood, details},
		{"address of the wrong length", open + "35 01 03 39 02 05 78 3C 03 02 01 BB 3E 04 21 7F 01 02", false, ResultDataNotUnderstood, details},
		{"address of an unknown kind", open + "35 01 03 39 02 05 78 3C 03 02 01 BB 3E 05 22 7F 01 02 03", false, ResultDataNotUnderstood, details},
		{"unknown object, comprehension required", open + "35 01 03 39 02 05 78 FA 01 00 3C 03 02 01 BB 3E 05 21 7F 01 02 03", false, ResultDataNotUnderstood, details},
		{"unknown three-byte tag, comprehension required", open + "7F 91 02 00", false, ResultDataNotUnderstood, details},
		{"no data", "81 03 05 43 01 82 02 81 21", false, ResultValuesMissing, CommandDetails{5, TypeSendData, 1}},
		{"no length", "81 03 05 42 00 82 02 81 21", false, ResultValuesMissing, CommandDetails{5, TypeReceiveData, 0}},
		{"length of two octets", "81 03 05 42 00 82 02 81 21 B7 02 00 01", false, ResultDataNotUnderstood, CommandDetails{5, TypeReceiveData, 0}},
		{"no event list", "81 03 05 05 00 82 02 81 82", false, ResultValuesMissing, CommandDetails{5, TypeSetUpEventList, 0}},
		{"no duration", "81 03 05 03 00 82 02 81 82", false, ResultValuesMissing, CommandDetails{5, TypePollInterval, 0}},
		{"duration of nothing", "81 03 05 03 00 82 02 81 82 84 02 01 00", false, ResultDataNotUnderstood, CommandDetails{5, TypePollInterval, 0}},
		{"unit of a duration", "81 03 05 03 00 82 02 81 82 84 02 03 01", false, ResultDataNotUnderstood, CommandDetails{5, TypePollInterval, 0}},
		{"no timer", "81 03 05 27 00 82 02 81 82 A5 03 00 10 00", false, ResultValuesMissing, CommandDetails{5, TypeTimerManagement, 0}},
		{"no timer value", "81 03 05 27 00 82 02 81 82 A4 01 01", false, ResultValuesMissing, CommandDetails{5, TypeTimerManagement, 0}},
		{"timer 0", "81 03 05 27 01 82 02 81 82 A4 01 00", false, ResultDataNotUnderstood, CommandDetails{5, TypeTimerManagement, 1}},
		{"timer 9", "81 03 05 27 01 82 02 81 82 A4 01 09", false, ResultDataNotUnderstood, CommandDetails{5, TypeTimerManagement, 1}},
		{"timer value of no digits", "81 03 05 27 00 82 02 81 82 A4 01 01 A5 03 0A 00 00", false, ResultDataNotUnderstood, CommandDetails{5, TypeTimerManagement, 0}},
		{"timer value of 24 hours", "81 03 05 27 00 82 02 81 82 A4 01 01 A5 03 42 00 00", false, ResultDataNotUnderstood, CommandDetails{5, TypeTimerManagement, 0}},
		{"timer value of 60 minutes", "81 03 05 27 00 82 02 81 82 A4 01 01 A5 03 00 06 00", false, ResultDataNotUnderstood, CommandDetails{5, TypeTimerManagement, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := octets(t, tt.body)
			if !tt.raw {
				b = template(0xD0, b)
			}
			c, err := ParseCommand(b)
			checkResult(t, err, tt.want)
			if c.Details != tt.details {
				t.Errorf("details %+v, want %+v", c.Details, tt.details)
			}
		})
	}
}

// TestTolerated has commands that are odd but to be carried out.
func TestTolerated(t *testing.T) {
	const open = "81 03 05 40 01 82 02 81 82"
	tests := []struct{ name, body string }{
		{"unknown object without comprehension required", open + "35 01 03 39 02 05 78 7A 01 00 3C 03 02 01 BB 3E 05 21 7F 01 02 03"},
		{"unknown three-byte tag", open + "35 01 03 39 02 05 78 7F 11 02 00 3C 03 02 01 BB 3E 05 21 7F 01 02 03"},
		{"comprehension required everywhere", "81 03 05 40 01 82 02 81 82 85 00 B5 01 03 B9 02 05 78 BC 03 02 01 BB BE 05 21 7F 01 02 03"},
		{"comprehension required nowhere", "01 03 05 40 01 02 02 81 82 05 00 35 01 03 39 02 05 78 3C 03 02 01 BB 3E 05 21 7F 01 02 03"},
		{"default bearer with octets behind it", open + "35 03 03 00 00 39 02 05 78 3C 03 02 01 BB 3E 05 21 7F 01 02 03"},
		{"details behind the rest", "35 01 03 39 02 05 78 3C 03 02 01 BB 3E 05 21 7F 01 02 03" + open},
		{"command number 00", "81 03 00 40 01 82 02 81 82 35 01 03 39 02 05 78 3C 03 02 01 BB 3E 05 21 7F 01 02 03"},
		{"empty data", "81 03 05 43 01 82 02 81 21 B6 00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ParseCommand(template(0xD0, octets(t, tt.body))); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestResultInfo sees that results which need additional information never go without.
func TestResultInfo(t *testing.T) {
	for g := range 256 {
		r := Result{General: GeneralResult(g)}
		want := 1
		switch g {
		case 0x20, 0x21, 0x26, 0x34, 0x35, 0x37, 0x38, 0x39, 0x3A, 0x3C, 0x3D:
			want = 2
		}
		if got := r.tlv(); len(got.Value) != want || got.Value[0] != byte(g) {
			t.Errorf("result %02X: %X", g, got.Value)
		}
		if r.String() == "" {
			t.Errorf("result %02X has no name", g)
		}
	}
}
