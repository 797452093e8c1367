package conformance

import (
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"bipd/internal/capture"
	"bipd/trace"
)

// opensInWireshark has tshark read the capture of a session: what the card sent and what came are a TCP stream there.
func opensInWireshark(k *testCase) {
	b := play(k, options{}, func(a *app) {
		a.both()
		id, f := a.dial("tcp")
		a.send(id, ramp(0, 20))
		a.goesOut(f, ramp(0, 20))
		f.push(ramp(100, 30))
		a.read(id, 30)
		a.close(id)
		a.hungUp(f)
	})
	program, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("REQUIRE_PROGRAMS") == "1" {
			k.Fatalf("tshark is not installed, and REQUIRE_PROGRAMS=1")
		}
		k.Skipf("tshark is not installed (package tshark)")
	}
	path := filepath.Join(k.TempDir(), "trace.pcapng")
	if err := writeCapture(path, b.rec.all()); err != nil {
		k.Fatal(err)
	}
	tshark := func(args ...string) string {
		cmd := exec.CommandContext(k.Context(), program, append([]string{"-n", "-r", path}, args...)...)
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		out, err := cmd.Output()
		if err != nil {
			k.Fatalf("tshark %q: %v", args, err)
		}
		return string(out)
	}
	if out := tshark("-Y", "_ws.malformed || tcp.analysis.flags"); out != "" {
		k.Errorf("tshark finds faults:\n%s", out)
	}
	seen := "\n" + tshark("-T", "fields", "-e", "frame.interface_name", "-e", "gsm_sim.apdu.ins", "-e", "tcp.flags")
	for _, want := range []string{"\ncard\t0x12\t", "\ncard\t0x14\t", "\nbip-net\t\t0x0002\n", "\nbip-net\t\t0x0012\n", "\nbip-net\t\t0x0011\n"} {
		if !strings.Contains(seen, want) {
			k.Errorf("no packet is %q:%s", want, seen)
		}
	}
	follow := tshark("-q", "-z", "follow,tcp,raw,0")
	if sent, came := hex.EncodeToString(ramp(0, 20)), hex.EncodeToString(ramp(100, 30)); !strings.Contains(follow, "\n"+sent+"\n\t"+came+"\n") {
		k.Errorf("the TCP stream is not what was sent and what came:\n%s", follow)
	}
}

// writeCapture writes the exchanges as events of a trace are written.
func writeCapture(path string, exchanges []exchange) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w, err := capture.NewWriter(f)
	for _, e := range exchanges {
		if err == nil {
			err = w.Event(trace.Event{Time: e.start, Card: "card0", APDU: hex.EncodeToString(e.capdu), RAPDU: hex.EncodeToString(e.rapdu)})
		}
	}
	return errors.Join(err, f.Close())
}
