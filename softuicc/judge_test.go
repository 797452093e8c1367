package softuicc

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"bipd/internal/testkit"
)

// pc spells a proactive command with number 01.
func pc(kind, qualifier, device, objects string) string {
	content := "810301" + kind + qualifier + "820281" + device + strings.ReplaceAll(objects, " ", "")
	n := len(content) / 2
	if n > 127 {
		return fmt.Sprintf("D081%02X%s", n, content)
	}
	return fmt.Sprintf("D0%02X%s", n, content)
}

// Commands of the scenes.
var (
	evl      = pc("05", "00", "82", "990303090A")
	openT    = pc("40", "01", "82", "350103 39020578 3C03020050 3E05217F000001")
	openBack = pc("40", "05", "82", "350103 39020578 3C03020050 3E05217F000001")
	openDem  = pc("40", "00", "82", "350103 39020578 3C03020050 3E05217F000001")
	openU    = pc("40", "01", "82", "350103 39020578 3C03010035 3E05217F000001")
	openWLAN = pc("40", "01", "82", "35010A 39020578 3C03020050 3E05217F000001")
	openSrv  = pc("40", "00", "82", "39020578 3C03031F90")
	dnsAsk   = pc("40", "09", "82", "350103 39020578")
	closeC   = pc("41", "00", "21", "")
	sendNow  = pc("43", "01", "21", "B603010203")
	store    = pc("43", "00", "21", "B681C8"+strings.Repeat("55", 200))
	receive  = pc("42", "00", "21", "B701ED")
	receive2 = pc("42", "00", "21", "B70102")
	statuses = pc("44", "00", "82", "")
	poll     = pc("03", "00", "82", "8402011E")
	timer3   = pc("27", "00", "82", "A40103 A503001000")
	readTmr  = pc("27", "02", "82", "A40103")
	imei     = pc("26", "01", "82", "")
	more     = pc("02", "00", "82", "")
)

// Answers of the scenes: what follows 82 81.
const (
	ok       = "830100"
	opened   = "830100 38028100 350103 39020578"
	sentOK   = "830100 B701FF"
	noneLeft = "830102 B6020102 B70100"
	gone     = "83023A02"
)

// serverProfile is goodProfile with UICC server mode.
var serverProfile = strings.Replace(goodProfile, "60 00 00 03", "60 00 00 07", 1)

// Events of the scenes.
const (
	data3   = "E:D60E 990109 82028281 B8028100 B70103"
	dataFF  = "E:D60E 990109 82028281 B8028100 B701FF"
	data300 = "E:D60E 990109 82028281 B8028100 B70102"
	linkUp1 = "E:D60B 99010A 82028281 B8028100"
	linkGo  = "E:D60B 99010A 82028281 B8020105"
)

// scene is what a terminal does with a scripted card, and what the judge says of it.
type scene struct {
	name     string
	peer     int      // the deviation of other terminals that it shows; 0 = none of them
	profile  string   // "" = goodProfile
	commands []string // of the card
	steps    []string // an answer to the next command; "E:" an envelope; "S" a STATUS; "A:" a whole APDU; "F" a FETCH alone
	want     []string // part of each violation, in order; none for a terminal that is right
}

func (s scene) play(t *testing.T) {
	testkit.NoLeaks(t)
	c := newCard(t, Config{Applets: []Applet{func(ctx context.Context, tk *Toolkit) error {
		for _, m := range s.commands {
			if _, err := tk.DoRaw(ctx, unhex(t, m)); err != nil {
				return onlyReset(err)
			}
		}
		return nil
	}}})
	defer c.Close()
	e := newTerminal(t, c)
	if s.profile == "" {
		e.profile()
	} else if s.profile != "none" {
		e.command(0x10, unhex(t, s.profile))
	}
	for _, step := range s.steps {
		switch kind, rest, _ := strings.Cut(step, ":"); kind {
		case "E":
			e.envelope(rest)
		case "S":
			e.expectStatus()
		case "A":
			e.hex(rest)
		case "F":
			e.fetch()
		default:
			e.respond(e.fetch(), step)
		}
	}
	v := c.Violations()
	for i := range max(len(v), len(s.want)) {
		switch {
		case i >= len(v):
			t.Errorf("the judge does not say %q", s.want[i])
		case i >= len(s.want):
			t.Errorf("the judge says too much: %v", v[i])
		case !strings.Contains(v[i].String(), s.want[i]):
			t.Errorf("the judge says %v, want %q", v[i], s.want[i])
		case v[i].Clause == "" || v[i].Text == "":
			t.Errorf("a violation without clause or text: %+v", v[i])
		}
	}
}

func all(commands ...string) []string { return commands }

// received is the answer to a RECEIVE DATA that brings n octets and leaves the rest.
func receivedAnswer(result string, n, left int) string {
	l := fmt.Sprintf("%02X", n)
	if n > 127 {
		l = "81" + l
	}
	return fmt.Sprintf("8301%s B6%s%s B701%02X", result, l, strings.Repeat("AA", n), left)
}

func TestJudgeAcceptsWhatIsRight(t *testing.T) {
	scenes := []scene{
		{name: "download", commands: all(evl, openT, sendNow, receive, receive, closeC), steps: []string{
			ok, opened, sentOK, dataFF, receivedAnswer("00", 237, 20), receivedAnswer("02", 20, 0), ok}},
		{name: "without comprehension bits", commands: all(openT, receive2, closeC), steps: []string{
			"0301003802810035010339020578", "030102 3600 370100", "030100"}},
		{name: "link dropped after the drain", commands: all(evl, openT, receive2, more, closeC), steps: []string{
			ok, opened, data300, receivedAnswer("00", 2, 0), linkGo, "S", ok, gone}},
		{name: "data again after the end of a chain", commands: all(evl, openT, receive2), steps: []string{
			ok, opened, dataFF, receivedAnswer("00", 2, 255), "S", dataFF}},
		{name: "background", commands: all(evl, openBack, more), steps: []string{
			ok, "830100 38020100 350103 39020578", linkUp1, ok, linkGo}},
		{name: "background fails", commands: all(evl, openBack, more), steps: []string{
			ok, "830100 38020100 350103 39020578", ok, linkGo}},
		{name: "on demand", commands: all(evl, openDem, sendNow, more), steps: []string{
			ok, "830100 38020100 350103 39020578", sentOK, ok, linkUp1, linkGo}},
		{name: "server", profile: serverProfile, commands: all(evl, openSrv, receive2, pc("41", "01", "21", ""), closeC), steps: []string{
			ok, "830100 38024100 39020578", linkUp1, data300, receivedAnswer("00", 2, 0), ok, ok}},
		{name: "server without a client", profile: serverProfile, commands: all(evl, openSrv, sendNow), steps: []string{
			ok, "830100 38024100 39020578", gone, "S", "S", "S"}},
		{name: "DNS servers", commands: all(dnsAsk, closeC), steps: []string{
			"830100 B8028100 350103 39020578 C005217F000035 C005217F000036", ok}},
		{name: "smaller buffer", commands: all(openT), steps: []string{"830107 38028100 350103 39020200"}},
		{name: "refusals", commands: all(openT, openT, closeC, receive, openWLAN), steps: []string{
			"83023A00 350103 39020578", "83022100 350103 39020578", "83023A03", "83023A03", "830130"}},
		{name: "channel status", commands: all(statuses, openT, statuses, statuses), steps: []string{
			"830100 B8020000", opened, "830100 B8028100", "830100 B8028100 B8020200 B8020300"}},
		{name: "store", commands: all(openU, store, store, sendNow), steps: []string{
			opened, sentOK, sentOK, sentOK}},
		{name: "buffer full", commands: all(pc("40", "01", "82", "350103 3902012C 3C03020050 3E05217F000001"), store, store, sendNow), steps: []string{
			"830100 38028100 350103 3902012C", "830100 B70164", "83023A04", sentOK}},
		{name: "timers", commands: all(timer3, readTmr, more, timer3), steps: []string{
			"830100 A40103", "830100 A40103 A503000000", "E:D70C 82028281 A40103 A503001000", ok, "830100 A40103"}},
		{name: "timer that does not run", commands: all(readTmr), steps: []string{"830124"}},
		{name: "system", commands: all(poll, imei, more, pc("02", "00", "82", "")), steps: []string{
			"830100 8402011E", "830130", ok, ok}},
		{name: "location", commands: all(evl, more), steps: []string{
			ok, "E:D613 990103 82028281 9B0100 9307 00F110 0001 0001", "E:D60A 990103 82028281 9B0102"}},
		{name: "STATUS in a session", commands: all(more), steps: []string{"F", "S", "A:8014000000", "A:801400000C 810301020082028281830100"}},
		{name: "bad commands", commands: all("D009810301990082028182", pc("40", "01", "82", "350103"), "D003 810301", "D00B 810301FF0082028182 E900"), steps: []string{
			"830131", "830136", "F", "A:801400000C 810300000082028281830132", "830132"}},
		{name: "closed by the network", commands: all(evl, openT, sendNow, more), steps: []string{ok, opened, gone, "S", linkGo, "S", ok, "S"}},
	}
	for _, s := range scenes {
		t.Run(s.name, s.play)
	}
}
