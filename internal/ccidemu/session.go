package ccidemu

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"bipd/softuicc"
	"bipd/uicc"
)

// session are commands of every case, with answers short and long, and those that T=0 has to be asked for twice.
var session = []string{
	"00A40004023F00",                                                     // SELECT MF: FCP
	"00A4000C022F05",                                                     // no data
	"00B0000000", "00B0000002", "00B0000003", "00B0010001", "00B000FF01", // READ BINARY
	"00A40004022F05",                                                         // 6283
	"00A40004022F00", "00B2010430", "00B2010400", "00B2020430", "00B2030430", // READ RECORD
	"00A4040410A0000000871002FFFFFFFF8903020000", "00A404040BA0000000871002FFFFFFFF00", // SELECT USIM
	"80F2000C00", "80F2000000", "80F2000C", "80F20001", // STATUS
	"00D6000001FF", "00A4000C", "0070000001", // refused
	"8010000020" + hex.EncodeToString(bytes.Repeat([]byte{0xFF}, 32)), // TERMINAL PROFILE
	"80C20000FF" + hex.EncodeToString(longEnvelope),                   // its response data waits behind 6310
}

// longEnvelope is an SMS-PP download of 255 octets, so that the command is as long as one can be.
var longEnvelope = func() []byte {
	b := []byte{0xD1, 0x81, 0xFC, 0x82, 2, 0x83, 0x81, 0x8B, 0x81, 0xF5}
	return append(b, bytes.Repeat([]byte{0x5A}, 255-len(b))...)
}()

// SessionConfig is that of a card for PlaySession. It waits for its applet for as long as it takes, so that its answers are
// the same on a busy machine.
func SessionConfig() softuicc.Config {
	return softuicc.Config{
		Applets: []softuicc.Applet{sessionApplet}, ThinkTime: time.Minute,
		SMSPPAnswer: bytes.Repeat([]byte{0xA5}, 200), Warning: sessionWarning,
	}
}

// sessionWarning gives warnings in place of 61xx to an envelope and to one SELECT.
func sessionWarning(capdu []byte) uint16 {
	switch {
	case capdu[1] == 0xC2:
		return 0x6310
	case capdu[1] == 0xA4 && bytes.HasPrefix(capdu[5:], []byte{0x2F, 0x05}):
		return 0x6283
	}
	return 0
}

// sessionApplet gives PlaySession commands of many lengths to fetch, so that answers fill packets exactly and
// miss them by one.
func sessionApplet(ctx context.Context, tk *softuicc.Toolkit) error {
	for _, n := range []int{0, 1, 36, 37, 38, 100, 101, 102, 229, 240} { // MORE TIME with an object that no terminal knows
		c := []byte{0xD0, 0x81, 0, 0x81, 3, 1, 2, 0, 0x82, 2, 0x81, 0x82, 0x7F, 0x81, byte(n)}
		c = append(c, bytes.Repeat([]byte{byte(n)}, n)...)
		c[2] = byte(len(c) - 3)
		if _, err := tk.DoRaw(ctx, c); err != nil {
			return nil // reset
		}
	}
	return nil
}

// PlaySession plays a session with a card that is one of SessionConfig, and returns each command and answer as a line: the same
// lines whatever the reader.
func PlaySession(ctx context.Context, card uicc.Card) (lines []string, err error) {
	ask := func(capdu []byte) (uicc.StatusWord, error) {
		rapdu, err := card.Transmit(ctx, capdu)
		if err != nil {
			return 0, fmt.Errorf("after %d commands, %X: %w", len(lines), capdu, err)
		}
		lines = append(lines, fmt.Sprintf("%X: %X", capdu, rapdu))
		_, sw, err := uicc.SplitResponse(rapdu)
		return sw, err
	}
	var sw uicc.StatusWord
	for _, text := range session {
		capdu, err := hex.DecodeString(text)
		if err != nil {
			return nil, err
		}
		if sw, err = ask(capdu); err != nil {
			return lines, err
		}
	}
	for {
		n, ok := sw.Proactive()
		if !ok {
			return lines, nil
		}
		if n%2 == 0 {
			n = 0 // the card corrects it
		}
		if _, err = ask([]byte{0x80, 0x12, 0, 0, byte(n)}); err != nil {
			return lines, err
		}
		if sw, err = ask([]byte{0x80, 0x14, 0, 0, 12, 0x81, 3, 1, 2, 0, 0x82, 2, 0x82, 0x81, 0x83, 1, 0}); err != nil {
			return lines, err
		}
	}
}
