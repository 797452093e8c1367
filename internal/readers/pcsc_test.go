package readers

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"bipd/internal/control"
	"bipd/uicc/pcsc"
)

// fakePCSCD answers one client as pcscd does: to the version (command 11) with the version, to the readers' states
// (command 12) with these.
func fakePCSCD(t *testing.T, states []byte) pcsc.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "comm")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		defer context.AfterFunc(t.Context(), func() { conn.Close() })() // whatever the client does
		for {
			var header [2]uint32 // size and command
			if binary.Read(conn, binary.NativeEndian, &header) != nil {
				return
			}
			body := make([]byte, header[0])
			if _, err := io.ReadFull(conn, body); err != nil {
				return
			}
			if header[1] == 0x12 {
				body = states
			}
			if _, err := conn.Write(body); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return pcsc.Config{Socket: path, Timeout: 30 * time.Second}
}

// readerState is one entry of pcscd's list, as pcsc-lite lays it out.
func readerState(name string, state uint32, atr []byte) []byte {
	var e struct {
		Name          [128]byte
		Events, State uint32
		Sharing       int32
		ATR           [33]byte
		_             [3]byte
		ATRLength     uint32
		Protocol      uint32
	}
	copy(e.Name[:], name)
	copy(e.ATR[:], atr)
	e.State, e.ATRLength = state, uint32(len(atr))
	var b bytes.Buffer
	binary.Write(&b, binary.NativeEndian, e)
	return b.Bytes()
}

func TestPCSC(t *testing.T) {
	const absent, present = 2, 4
	states := append(readerState("SCR 3310 00 00", present, []byte{0x3B, 0x00}), readerState("Twin \"2\" 01 00", absent, nil)...)
	for range 14 {
		states = append(states, readerState("", 0, nil)...)
	}
	got, err := askPCSC(t.Context(), fakePCSCD(t, states))
	want := []control.Reader{
		{Name: "SCR 3310 00 00", Driver: "pcsc", Slots: []control.ReaderSlot{
			{State: "card", ATR: "3B00", Card: DecodeATR([]byte{0x3B, 0x00}), Config: `reader = "pcsc:SCR 3310 00 00"`}}},
		{Name: `Twin "2" 01 00`, Driver: "pcsc", Slots: []control.ReaderSlot{{State: "empty", Config: `reader = "pcsc:Twin \"2\" 01 00"`}}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	if _, err := askPCSC(t.Context(), pcsc.Config{Socket: "/does/not/exist"}); err == nil {
		t.Error("no pcscd is no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := askPCSC(ctx, fakePCSCD(t, states)); err == nil {
		t.Error("an answer out of time")
	}
}

// pcscd is asked only where it runs.
func TestProcesses(t *testing.T) {
	proc := t.TempDir()
	for dir, comm := range map[string]string{"1": "systemd", "812": "pcscd", "813": "pcscd2", "self": "pcscd"} {
		if err := os.Mkdir(filepath.Join(proc, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, dir, "comm"), []byte(comm+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := processes(proc, "pcscd"); !reflect.DeepEqual(got, []string{"812"}) {
		t.Errorf("processes %v", got)
	}
	if got := processes(proc, "bipd"); got != nil {
		t.Errorf("processes %v", got)
	}
}
