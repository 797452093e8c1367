package capture

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/pcapgo"

	"bipd/cat"
	"bipd/softuicc"
)

// A capture with holes does not look whole, neither the exchanges with the card nor the connection that is rebuilt from
// them: tshark finds the packet with the comment, the dropped packets, and a segment that was not captured.
func TestHoles(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	body := bytes.Repeat([]byte("0123456789abcdef"), 500)
	go func() {
		c, err := l.Accept()
		if err == nil {
			c.Write(body)
			io.Copy(io.Discard, c)
			c.Close()
		}
	}()
	remote := l.Addr().(*net.TCPAddr).AddrPort()
	applet := func(ctx context.Context, tk *softuicc.Toolkit) error {
		c, err := tk.Dial(ctx, softuicc.DialParams{Transport: cat.TCPClientRemote, Qualifier: cat.OpenImmediate,
			Remote: netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())})
		if err != nil {
			return err
		}
		_, err = io.ReadFull(c, make([]byte, len(body)))
		return errors.Join(err, c.Close())
	}
	answers, lost := 0, 0
	path := recordWithHoles(t, applet, func(_ int, capdu []byte) bool {
		if capdu[1] == insTerminalResponse && len(capdu) > 150 { // data for the card
			answers++
		}
		lose := answers == 5 || answers == 6 || answers == 10
		if lose {
			lost++
		}
		return lose
	})
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(file, []byte("events lost before this packet")); n != 2 {
		t.Errorf("%d packets have a comment", n)
	}
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, _, err = r.ReadPacketData()
	}
	card, err := r.Interface(cardInterface)
	if err != nil || card.Statistics.PacketsDropped != uint64(lost) {
		t.Errorf("%d packets dropped, want %d (%v)", card.Statistics.PacketsDropped, lost, err)
	}
	if out := tshark(t, path, "-Y", "tcp.analysis.lost_segment"); len(strings.Fields(out)) == 0 {
		t.Error("tshark takes the connection for whole")
	}
	if out := tshark(t, path, "-Y", `frame.comment contains "lost before"`); strings.Count(out, "\n") != 2 {
		t.Errorf("tshark finds the packets\n%s", out)
	}
}
