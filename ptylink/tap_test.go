package ptylink

import (
	"net/netip"
	"strings"
	"sync"
	"testing"

	"bipd/internal/testkit"
)

// Passwords show in no tap and no log.
func TestTapMasksPasswords(t *testing.T) {
	testkit.NoLeaks(t)
	e := pipeEnds(t)
	var mu sync.Mutex
	var seen []string
	tap := func(d Direction, line string) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, d.String()+" "+line)
	}
	startAP(t, PeerConfig{Open: e.ap.Open, Tap: tap}, testHandlers())
	c := startCP(t, LinkConfig{Open: e.cp.Open, Tap: tap, NoMux: true})
	await(t, "line up", c.up)
	checkCommands(t, c)
	w := WebOpen{Channel: 1, Network: "tcp", Remote: netip.MustParseAddrPort("192.0.2.1:443"), Buffer: 9, User: "joe", Password: "pa\\ss;\"word"}
	if _, err := c.WebOpenChannel(within(t, testTime), w); err != nil {
		t.Error(err)
	}
	c.stop()
	mu.Lock()
	defer mu.Unlock()
	all := strings.Join(seen, "\n")
	for _, want := range []string{
		`sent AT%GETNET=5,3,"x\22y"`, `received %NETPAR: 5,"IPV4V6","inter.net","us\22er","***","wlan0","192.0.2.53","2001:db8::53",1400`,
		`sent AT%WEBOPCH=1,"TCP","192.0.2.1",443,9,"","joe","***"`, `received AT%WEBOPCH=1,"TCP","192.0.2.1",443,9,"","joe","***"`,
		"received +CME ERROR: 601", "sent OK",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(all, "pa") && strings.Contains(all, "word") {
		t.Error(all)
	}
}

func TestMaskLine(t *testing.T) {
	const pw = "hunter2"
	for in, want := range map[string]string{
		"OK": "OK", "AT": "AT", "ATE0": "ATE0", "AT+CMUX=0,0,,512": "AT+CMUX=0,0,,512", "+CME ERROR: 4": "+CME ERROR: 4",
		`%NETPAR: 1,"IP","a","u","hunter2"`:                     `%NETPAR: 1,"IP","a","***","***"`,
		`%NETPAS: 1,"IP","a","u","hunter2"`:                     `%NETPAS: 1,"***","***","***","***"`,
		`%NETPAR: 1,"IP","a","u","hunter2`:                      "(32 octets)",
		`ter2","wlan0","192.0.2.1"`:                             "(25 octets)",
		`+CME ERROR: "hunter2"`:                                 "(21 octets)",
		`at%webopch=1,"TCP","::1",1,2,"n","u","hunter2"`:        `AT%WEBOPCH=1,"TCP","::1",1,2,"n","u","***"`,
		`AT%WEBOPCH=1,"TCP","::1",1,2,"n","u","x","","hunter2"`: `AT%WEBOPCH=1,"TCP","::1",1,2,"n","u","***","","***"`,
		`AT%WEBXPCH="hunter2"`:                                  `AT%WEBXPCH="***"`,
	} {
		if got := maskLine(in); got != want || strings.Contains(got, pw) {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// A password that a comma too many, or a value that is missing, has moved to another place is masked as well.
func TestMaskMoved(t *testing.T) {
	for _, line := range []string{
		`AT%WEBOPCH=2,"UDP","192.0.2.1",53,1500,"n","u",,"s3cret"`,
		`AT%WEBOPCH=2,"UDP","192.0.2.1",53,1500,"n",,"u","s3cret"`,
		`%NETPAR: 1,"IP","net","user",,"s3cret","wlan0","192.0.2.53","",1400`,
		`%NETPAR: 1,"IP","user","s3cret","wlan0","192.0.2.53","",1400`,
	} {
		if got := maskLine(line); strings.Contains(got, "s3cret") {
			t.Errorf("%s is shown as %s", line, got)
		}
	}
}
