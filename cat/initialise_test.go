package cat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"bipd/uicc"
)

const (
	selectMF  = "00A40004023F00"
	selectDIR = "00A40004022F00"
	aidUSIM   = "A0000000871002FF49FF0589"
	aidISIM   = "A0000000871004FF49FF0589"
)

// dirRecord is a record of EF_DIR, padded.
func dirRecord(t *testing.T, aid string) []byte {
	t.Helper()
	a := unhex(t, aid)
	label := []byte{0x50, 0x04, 'U', 'S', 'I', 'M'}
	inner := append(append([]byte{0x4F, byte(len(a))}, a...), label...)
	return append(append([]byte{0x61, byte(len(inner))}, inner...), bytes.Repeat([]byte{0xFF}, 12)...)
}

// profileAPDU is the TERMINAL PROFILE that a session without handlers of others sends.
func profileAPDU(class byte) string {
	p := NewSession(nil, Config{}).Profile()
	return fmt.Sprintf("%02X100000%02X%X", class, len(p), p)
}

func TestInitialisation(t *testing.T) {
	padding := bytes.Repeat([]byte{0xFF}, 38)
	read := func(n int) string { return fmt.Sprintf("00B2%02X0400", n) }
	tests := []struct {
		name  string
		setup func(*testCard)
		want  []string
	}{
		{"USIM in the third record", func(c *testCard) {
			c.records = [][]byte{dirRecord(t, aidISIM), padding, dirRecord(t, aidUSIM), dirRecord(t, aidUSIM)}
		}, []string{selectMF, selectDIR, read(1), read(2), read(3), "00A404040C" + aidUSIM, profileAPDU(0x80), "80F2010C"}},
		{"no EF_DIR", func(*testCard) {},
			[]string{selectMF, selectDIR, profileAPDU(0x80), "80F2010C"}},
		{"no USIM", func(c *testCard) { c.records = [][]byte{dirRecord(t, aidISIM)} },
			[]string{selectMF, selectDIR, read(1), read(2), profileAPDU(0x80), "80F2010C"}},
		{"records that are none", func(c *testCard) {
			c.records = [][]byte{{}, {0x61}, {0x61, 0x20, 0x4F, 0x07}, {0x61, 0x03, 0x4F, 0x07, 0xA0}, {0x61, 0x02, 0x4F, 0x00}, {0x70, 0x00}}
		}, []string{selectMF, selectDIR, read(1), read(2), read(3), read(4), read(5), read(6), read(7), profileAPDU(0x80), "80F2010C"}},
		{"class A0", func(c *testCard) { c.gsm = true },
			[]string{selectMF, "A0A40000027F20", profileAPDU(0xA0), "A0F2000016"}},
		{"STATUS with data only", func(c *testCard) { c.noShort = true },
			[]string{selectMF, selectDIR, profileAPDU(0x80), "80F2010C", "80F2010000"}},
		{"no toolkit", func(c *testCard) {
			c.hook = func(_ int, cmd uicc.Command) ([]byte, error, bool) { return sw(0x6D00), nil, cmd.CLA == 0x80 }
		}, []string{selectMF, selectDIR, profileAPDU(0x80), "80F2010C", "80F2010000"}},
		{"selection refused", func(c *testCard) {
			c.records = [][]byte{dirRecord(t, aidUSIM)}
			c.hook = func(_ int, cmd uicc.Command) ([]byte, error, bool) {
				return sw(0x6A82), nil, cmd.INS == insSelect && cmd.P1 == 0x04
			}
		}, []string{selectMF, selectDIR, read(1), "00A404040C" + aidUSIM, profileAPDU(0x80), "80F2010C"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				card := newTestCard(t)
				tt.setup(card)
				b := runSession(t, card, Config{})
				if got := card.after(0); !slices.Equal(got, tt.want) {
					t.Errorf("the card was sent\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
				}
				b.stop()
			})
		})
	}
}

// TestDirectoryWithoutEnd has a card that has a record for every number.
func TestDirectoryWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		card.hook = func(_ int, cmd uicc.Command) ([]byte, error, bool) { return sw(0x9000), nil, cmd.INS == insReadRecord }
		card.records = [][]byte{}
		b := runSession(t, card, Config{})
		if n := card.count("00B2"); n != 254 {
			t.Errorf("%d records were read", n)
		}
		b.stop()
	})
}

// gsmDirectory is what a class A0 card tells of DF GSM.
func gsmDirectory(characteristics, pin byte) []byte {
	d := make([]byte, 23)
	d[13], d[18] = characteristics, pin
	return d
}

func TestPIN(t *testing.T) {
	const (
		ask     = "00200001"
		present = "002000010831323334FFFFFFFF"
		gsm     = "A02000010831323334FFFFFFFF"
	)
	uiccCard := func(asked, presented uint16) func(*testCard) {
		return func(c *testCard) {
			c.hook = func(_ int, cmd uicc.Command) ([]byte, error, bool) {
				if len(cmd.Data) > 0 {
					return sw(presented), nil, cmd.INS == insVerify
				}
				return sw(asked), nil, cmd.INS == insVerify
			}
		}
	}
	gsmCard := func(directory []byte, presented uint16) func(*testCard) {
		return func(c *testCard) {
			uiccCard(0, presented)(c)
			c.gsm, c.directory = true, directory
		}
	}
	tests := []struct {
		name, pin string
		setup     func(*testCard)
		verify    []string // the VERIFY commands
		fails     bool
	}{
		{"none configured", "", uiccCard(0x63C3, 0x9000), nil, false},
		{"verified already", "1234", uiccCard(0x9000, 0x6F00), []string{ask}, false},
		{"disabled", "1234", uiccCard(0x6984, 0x6F00), []string{ask}, false},
		{"needed", "1234", uiccCard(0x63C3, 0x9000), []string{ask, present}, false},
		{"needed, two tries left", "1234", uiccCard(0x63C2, 0x9000), []string{ask, present}, false},
		{"wrong", "1234", uiccCard(0x63C3, 0x63C2), []string{ask, present}, true},
		{"one try left", "1234", uiccCard(0x63C1, 0x9000), []string{ask}, true},
		{"none left", "1234", uiccCard(0x63C0, 0x9000), []string{ask}, true},
		{"blocked", "1234", uiccCard(0x6983, 0x9000), []string{ask}, true},
		{"tries not told", "1234", uiccCard(0x6A86, 0x9000), []string{ask}, true},
		{"too short", "123", uiccCard(0x63C3, 0x9000), nil, true},
		{"too long", "123456789", uiccCard(0x63C3, 0x9000), nil, true},
		{"class A0, needed", "1234", gsmCard(gsmDirectory(0x00, 0x83), 0x9000), []string{gsm}, false},
		{"class A0, wrong", "1234", gsmCard(gsmDirectory(0x00, 0x83), 0x9804), []string{gsm}, true},
		{"class A0, disabled", "1234", gsmCard(gsmDirectory(0x80, 0x83), 0x9808), nil, false},
		{"class A0, one try left", "1234", gsmCard(gsmDirectory(0x00, 0x81), 0x9000), nil, true},
		{"class A0, tries not told", "1234", gsmCard(nil, 0x9000), nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				card, logged := newTestCard(t), new(bytes.Buffer)
				tt.setup(card)
				b := runSession(t, card, Config{PIN: tt.pin, Log: logInto(logged)})
				var verify []string
				for _, a := range card.after(0) {
					if a[2:4] == "20" {
						verify = append(verify, a)
					}
				}
				if !slices.Equal(verify, tt.verify) {
					t.Errorf("VERIFY %v, want %v", verify, tt.verify)
				}
				profiles := card.count("8010") + card.count("A010")
				if tt.fails {
					err := b.end()
					if !errors.Is(err, ErrPIN) || profiles != 0 {
						t.Errorf("error %v, want ErrPIN; %d TERMINAL PROFILE", err, profiles)
					}
					if tt.pin != "" && strings.Contains(err.Error()+logged.String(), tt.pin) {
						t.Errorf("the PIN shows: %v, %s", err, logged)
					}
					return
				}
				if profiles != 1 {
					t.Errorf("%d TERMINAL PROFILE", profiles)
				}
				b.stop()
				if tt.pin != "" && strings.Contains(logged.String(), tt.pin) {
					t.Errorf("the PIN shows: %s", logged)
				}
			})
		})
	}
}

// TestProfile compares the TERMINAL PROFILE with what the handlers claim, bit by bit.
func TestProfile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		claims := append(FacilityChannels(5), FacilityOpenChannel, FacilityUDPClient, Facility{40, 8})
		h := HandlerFunc(func(c Command) Response { return Respond(c, OK) }, claims...)
		card := newTestCard(t)
		b := runSession(t, card, Config{}, func(s *Session) { s.Handle(h, TypeOpenChannel) })
		claims = append(claims, FacilityProfileDownload, FacilityCommandResult, FacilityNoDisplay, FacilityNoKeypad,
			FacilityMoreTime, FacilityPollInterval, FacilityPollingOff, FacilityRefresh, FacilityRefreshEUICCProfile, FacilitySetUpEventList,
			FacilityTimerExpiration, FacilityTimerStart, FacilityTimerGetValue, FacilityLanguageNotification)
		var sent []byte
		for _, a := range card.after(0) {
			if strings.HasPrefix(a, "8010") {
				sent = unhex(t, a)[5:]
			}
		}
		if !bytes.Equal(sent, b.s.Profile()) || len(sent) != 40 {
			t.Errorf("the card was told %X, want %X", sent, b.s.Profile())
		}
		for i, octet := range sent {
			for bit := 1; bit <= 8; bit++ {
				want := slices.Contains(claims, Facility{i + 1, bit})
				if got := octet>>(bit-1)&1 != 0; got != want {
					t.Errorf("octet %d bit %d is %v, want %v", i+1, bit, got, want)
				}
			}
		}
		b.stop()
	})
}

// TestRemovedAtEachExchange takes the card away at each of the exchanges of an initialisation and a first command.
func TestRemovedAtEachExchange(t *testing.T) {
	for n := 1; ; n++ {
		reached := false
		t.Run(fmt.Sprintf("exchange %d", n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				card, src := newTestCard(t), &testSource{}
				card.records = [][]byte{dirRecord(t, aidISIM), dirRecord(t, aidUSIM)}
				card.queue = [][]byte{NewCommand(1, 0, &SetUpEventList{Events: []EventCode{EventLocationStatus}}).Append(nil)}
				card.hook = func(nth int, cmd uicc.Command) ([]byte, error, bool) {
					if nth == n {
						reached = true
						return nil, fmt.Errorf("reader: %w", uicc.ErrRemoved), true
					}
					if cmd.INS == insVerify && len(cmd.Data) == 0 {
						return sw(0x63C3), nil, true
					}
					return nil, nil, false
				}
				b := runSession(t, card, Config{PIN: "1234"}, func(s *Session) { s.AddSource(src) })
				if !reached {
					b.stop()
					return
				}
				if err := b.end(); !errors.Is(err, uicc.ErrRemoved) {
					t.Errorf("the session ended with %v", err)
				}
				if src.resets != 1 {
					t.Errorf("the source was told %d times", src.resets)
				}
				if b.s.Post(func() { t.Error("a function ran after the end") }) {
					t.Error("Post after the end")
				}
				if got := len(card.exchanges); got != n {
					t.Errorf("%d exchanges with a card that is gone after %d", got, n)
				}
			})
		})
		if !reached {
			if n != 12 { // 11 exchanges: two directories, two records, USIM, two VERIFY, profile, STATUS, FETCH, TERMINAL RESPONSE
				t.Errorf("%d exchanges", n-1)
			}
			return
		}
	}
}

// TestCancelledAtStart ends the session before it begins.
func TestCancelledAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		card := newTestCard(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := NewSession(card, Config{}).Run(ctx); !errors.Is(err, context.Canceled) || len(card.exchanges) != 0 {
			t.Errorf("%v after %d exchanges", err, len(card.exchanges))
		}
	})
}

// A PIN that is for one card is tried on no other, nor on one that does not tell which it is; without it the card is
// served all the same.
func TestPINOfOneCard(t *testing.T) {
	const own = "8944500102198304826"
	for _, tc := range []struct {
		name, iccid string
		gsm         bool
	}{
		{"its own", own, false},
		{"another", "8944500102198304834", false},
		{"longer", own + "1", false},
		{"not told", "", false},
		{"its own, class A0", own, true},
		{"another, class A0", "8944500102198304834", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				card := newTestCard(t)
				card.gsm, card.directory = tc.gsm, gsmDirectory(0, 3)
				var selected []byte
				card.hook = func(_ int, cmd uicc.Command) ([]byte, error, bool) {
					if cmd.CLA == classGSM != tc.gsm {
						return nil, nil, false
					}
					switch cmd.INS {
					case insSelect:
						selected = cmd.Data
					case insReadBinary:
						if tc.iccid == "" || !bytes.Equal(selected, []byte{0x2F, 0xE2}) {
							return sw(0x6982), nil, true
						}
						return append(codedICCID(tc.iccid), 0x90, 0x00), nil, true
					case insVerify:
						if len(cmd.Data) == 0 {
							return sw(0x63C3), nil, true
						}
						return sw(0x9000), nil, true
					}
					return nil, nil, false
				}
				b := runSession(t, card, Config{PIN: "1234", PINICCID: own})
				verify, profile := "0020000108", "8010"
				if tc.gsm {
					verify, profile = "A020000108", "A010"
				}
				if n := card.count(verify); (n == 1) != (tc.iccid == own) || n > 1 {
					t.Errorf("the PIN was presented %d times", n)
				}
				if card.count(profile) != 1 {
					t.Error("the card is not served")
				}
				b.stop()
			})
		})
	}
}

// codedICCID codes the digits as EF_ICCID has them.
func codedICCID(digits string) []byte {
	b := bytes.Repeat([]byte{0xFF}, iccidLength)
	for i, d := range digits {
		shift := 4 * (i % 2)
		b[i/2] = b[i/2]&^(0x0F<<shift) | byte(d-'0')<<shift
	}
	return b
}
