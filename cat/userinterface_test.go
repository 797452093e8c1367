package cat

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bipd/trace"
)

// TestUserInterface keeps a menu and shows texts.
func TestUserInterface(t *testing.T) {
	for _, shows := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			stream := &trace.Stream{}
			rec := trace.Record(stream, 1000)
			defer rec.Close()
			card := newTestCard(t)
			var u *UserInterface
			b := runSession(t, card, Config{Log: logInto(&log), Trace: stream}, func(s *Session) { u = NewUserInterface(s, shows) })
			want := ResultBeyondCapabilities
			if shows {
				want = ResultOK
			}
			for _, body := range []Body{NewDisplayText("Fröhlich"), NewSetUpIdleModeText("idle\x1b[2J")} {
				if r := b.answer(command(1, 0x80, body)); r.Result.General != want {
					t.Errorf("%v: %v", body.Type(), r.Result)
				}
			}
			b.checkMenu(u)
			icon := NewDisplayText("icon")
			icon.Icon = []byte{1, 1}
			unknown := &DisplayText{shownText: shownText{Text: &Text{0x0C, []byte("x")}}}
			if shows {
				if r := b.answer(command(1, 0, icon)); r.Result.General != ResultIconNotShown {
					t.Errorf("icon: %v", r.Result)
				}
			}
			if r := b.answer(command(1, 0, unknown)); r.Result.General != ResultDataNotUnderstood {
				t.Errorf("unknown coding: %v", r.Result)
			}
			for _, other := range []CommandType{TypeGetInkey, TypeGetInput, TypePlayTone, TypeSetUpCall, TypeSendSS, TypeSendUSSD, TypeSendDTMF, TypeLaunchBrowser} {
				if r := b.answer(command(1, 0, &Unsupported{Command: other})); r.Result.General != ResultBeyondCapabilities {
					t.Errorf("%v: %v", other, r.Result)
				}
			}
			if r := b.answer(command(1, 0, NewSelectItem("t", NewItem(1, "a")))); r.Result.General != ResultBeyondCapabilities {
				t.Errorf("SELECT ITEM: %v", r.Result)
			}
			p := b.s.Profile()
			if got := p[2]&1 != 0; got != shows || p[7]&0x10 != 0 != shows || p[13]&0x20 != 0 == shows || p[0]&8 == 0 || p[3]&0x20 == 0 {
				t.Errorf("shows %v: profile %X", shows, p)
			}
			b.give(command(2, RefreshUICCReset, &Refresh{}))
			if len(u.Menu().Items) != 0 {
				t.Error("the menu has outlived the card's reset")
			}
			b.stop()
			said := ""
			for _, e := range rec.Events() {
				said += e.What + "\n"
			}
			for _, text := range []string{`DISPLAY TEXT: "Fröhlich"`, `menu "Menü": 1 "one"; 255 "other"`, "menu removed"} {
				if !strings.Contains(said, text) {
					t.Errorf("the trace does not say %s:\n%s", text, said)
				}
			}
			if !strings.Contains(log.String(), "Fröhlich") || strings.Contains(log.String()+said, "\x1b") {
				t.Errorf("log %s\ntrace %s", &log, said)
			}
		})
	}
}

// checkMenu sets up menus and chooses from them.
func (b *bench) checkMenu(u *UserInterface) {
	t := b.t
	t.Helper()
	if _, err := u.Selection(1, false); !errors.Is(err, ErrNoItem) {
		t.Error(err)
	}
	if r := b.answer(command(1, MenuHelp, NewSetUpMenu("Menü", NewItem(1, "one"), NewItem(255, "other")))); r.Result.General != ResultOK {
		t.Errorf("SET UP MENU: %v", r.Result)
	}
	m := u.Menu()
	if m.Title != "Menü" || !slices.Equal(m.Items, []MenuItem{{1, "one"}, {255, "other"}}) || !m.Help {
		t.Errorf("menu %+v", m)
	}
	if e, err := u.Selection(255, true); err != nil || !bytes.Equal(e.Append(nil), MenuSelectionEnvelope(255, true).Append(nil)) {
		t.Errorf("%v %v", e, err)
	}
	// what is refused leaves the menu as it is
	for _, bad := range []struct {
		body string
		want GeneralResult
	}{
		{"85 00", ResultValuesMissing}, {"8F 02 01 41", ResultValuesMissing}, {"85 00 8F 02 00 41", ResultDataNotUnderstood},
		{"85 00 8F 00 8F 00", ResultDataNotUnderstood},
	} {
		raw := template(templateProactive, octets(t, "81 03 01 25 00 82 02 81 82", bad.body))
		if r := b.answer(raw); r.Result.General != bad.want {
			t.Errorf("%s: %v", bad.body, r.Result)
		}
	}
	if len(u.Menu().Items) != 2 {
		t.Errorf("menu %+v", u.Menu())
	}
	b.answer(command(1, 0, NewSetUpMenu("x", NewItem(3, ""))))
	if _, err := u.Selection(3, true); !errors.Is(err, ErrNoHelp) {
		t.Error(err)
	}
	if r := b.answer(command(1, 0, NewSetUpMenu("x"))); r.Result.General != ResultOK || len(u.Menu().Items) != 0 {
		t.Errorf("removal: %v, menu %+v", r.Result, u.Menu())
	}
	b.answer(command(1, 0, NewSetUpMenu("x", NewItem(3, "three"))))
}

// TestShortMessages hands messages over, or says why not.
func TestShortMessages(t *testing.T) {
	centre := Address{0x91, "447700900000"}
	sm := &SendShortMessage{Address: &centre, TPDU: octets(t, "01 00 02 81 21 00 F4 05 68656C6C6F")}
	var failure error
	var got []ShortMessage
	send := func(_ context.Context, m ShortMessage) error {
		time.Sleep(time.Second)
		got = append(got, m)
		return failure
	}
	tests := []struct {
		name      string
		send      func(context.Context, ShortMessage) error
		qualifier byte
		body      string
		fail      error
		want      Result
		tpdu      string // handed over
	}{
		{"sent", send, 0, "", nil, OK, "01 00 02 81 21 00 F4 05 68656C6C6F"},
		{"packed", send, SMSPacking, "", nil, OK, "01 00 02 81 21 00 F0 05 E8329BFD06"},
		{"not sent", send, 0, "", errors.New("no modem"), Result{ResultTerminalUnable, []byte{InfoNoService}}, "01 00 02 81 21 00 F4 05 68656C6C6F"},
		{"nobody to send", nil, 0, "", nil, Result{ResultTerminalUnable, []byte{InfoNoService}}, ""},
		{"no TPDU", send, 0, "86 03 91 44 77", nil, Result{General: ResultValuesMissing}, ""},
		{"empty TPDU", send, 0, "8B 00", nil, Result{General: ResultDataNotUnderstood}, ""},
		{"broken address", send, 0, "86 03 91 F4 77 8B 01 01", nil, Result{General: ResultDataNotUnderstood}, ""},
		{"not to be packed", send, SMSPacking, "8B 01 01", nil, Result{General: ResultDataNotUnderstood}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, failure = nil, tt.fail
				card := newTestCard(t)
				b := runSession(t, card, Config{}, func(s *Session) { NewShortMessages(s, tt.send) })
				raw := command(1, tt.qualifier, sm)
				if tt.body != "" {
					raw = template(templateProactive, append([]byte{0x81, 3, 1, 0x13, tt.qualifier, 0x82, 2, 0x81, 0x83}, octets(t, tt.body)...))
				}
				b.give(raw)
				b.sleep(2 * time.Second)
				if len(card.responses) != 1 || card.responses[0].Result.String() != tt.want.String() {
					t.Errorf("responses %v, want %v", card.responses, tt.want)
				}
				if (len(got) == 1) != (tt.tpdu != "") || len(got) == 1 && (!bytes.Equal(got[0].TPDU, octets(t, tt.tpdu)) || got[0].Address != centre || got[0].Card != "test") {
					t.Errorf("handed over %v, want %s", got, tt.tpdu)
				}
				if p := b.s.Profile(); p[3]&0x02 != 0 != (tt.send != nil) || p[0]&0x02 == 0 {
					t.Errorf("profile %X", p)
				}
				b.stop()
			})
		})
	}
}
