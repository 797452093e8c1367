//go:build guest

package bipd

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"bipd/internal/control"
	"bipd/internal/guest"
)

// fileSize is 1 MiB.
const fileSize = 1 << 20

// method is the one that the host asked for.
func method() string { return guest.Args()[0] }

func serving(c control.Card) bool { return c.State == "serving" }
func absent(c control.Card) bool  { return c.State == "absent" }

// takeOut takes the card out at the end, and waits until bipd knows: QEMU 7.2 has been seen to crash where the card was taken
// out while bipd ended and let the reader go.
func (b *bed) takeOut() {
	b.Helper()
	b.ask("remove")
	b.awaitCard("that is out", absent)
}

// TestInsideDownload has the card download the file.
func TestInsideDownload(t *testing.T) {
	b := newBed(t, method())
	b.ask("insert")
	b.awaitCard("that is served", serving)
	t.Log(b.ask("whole"))
	b.takeOut()
}

// TestInsideCardPulled has the card pulled out in the middle of the download, and put in again.
func TestInsideCardPulled(t *testing.T) {
	b := newBed(t, method())
	b.ask("insert")
	b.ask("progress")
	b.ask("remove")
	b.awaitCard("that is out", absent)
	b.noChannels()
	b.ask("insert")
	b.awaitCard("that is served again", serving)
	t.Log(b.ask("whole"))
	b.takeOut()
}

// TestInsideReaderPulled has the reader unplugged in the middle of the download, and plugged in again.
func TestInsideReaderPulled(t *testing.T) {
	b := newBed(t, method())
	b.ask("insert")
	b.ask("progress")
	b.ask("unplug")
	b.awaitNothing()
	b.ask("plug")
	b.awaitCard("of the reader that is back", absent)
	b.ask("insert")
	b.awaitCard("that is served again", serving)
	t.Log(b.ask("whole"))
	b.takeOut()
	log, err := os.ReadFile(b.bipdLog)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), "slot of a USB reader is a card's"); n != 2 {
		t.Errorf("the log tells of the slot %d times, it was plugged in twice", n)
	}
}

// TestInsideReaders looks at what bipctl shows, with bipd and without.
func TestInsideReaders(t *testing.T) {
	want := []string{
		`(?m)^QEMU USB CCID`, `port 1-1  USB 08e6:4433`, `TPDU level, T=0, 5/3/1.8 V`, `slot 0  card`,
		`ATR 3B09626970642073`, `direct convention`, `reader = "ccid:path=1-1"`,
	}
	shows := func(socket string, want ...string) {
		t.Helper()
		out := run(t, "bipctl", "readers", "--socket", socket)
		t.Logf("bipctl readers --socket %s:\n%s", socket, out)
		for _, w := range want {
			if !regexp.MustCompile(w).MatchString(out) {
				t.Errorf("bipctl readers does not show %q:\n%s", w, out)
			}
		}
	}
	guest.Ask(t, "insert", "")
	look := &bed{T: t}
	look.await("reader with the card", func() error { // the kernel may not have found the one, nor QEMU heard of the other yet
		if out := run(t, "bipctl", "readers", "--socket", "/nonexistent/bipd.sock"); !strings.Contains(out, "ATR ") {
			return fmt.Errorf("bipctl readers shows\n%s", out)
		}
		return nil
	})
	shows("/nonexistent/bipd.sock", want...)
	check := run(t, "bipctl", "check", "--reader", "ccid:path=1-1", "--time", "10s")
	for _, w := range []string{"reader ccid:path=1-1\nATR 3B09626970642073", "OPEN CHANNEL", "there was no network for the card"} {
		if !strings.Contains(check, w) {
			t.Errorf("bipctl check does not show %q:\n%s", w, check)
		}
	}
	guest.Ask(t, "remove", "")
	b := newBed(t, "1")
	b.ask("insert")
	b.awaitCard("that is served", serving)
	shows(b.dir+"/bipd.sock", append(want, `served as usb-1-1\.0`)...)
	shows("/nonexistent/bipd.sock", `PROBLEM: .*in use by bipd`)
	plan := run(t, "bipd", "--check", "--config", b.dir+"/bipd.toml")
	if !strings.Contains(plan, "now usb-1-1.0 in QEMU USB CCID [1-1] slot 0") {
		t.Errorf("bipd --check does not say what is served:\n%s", plan)
	}
	t.Log(b.ask("whole"))
}
