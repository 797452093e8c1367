package readers

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bipd/internal/control"
	"bipd/uicc/pcsc"
)

// What a slot is known to hold, as control.ReaderSlot.State has it.
const (
	stateEmpty   = "empty"
	stateCard    = "card"
	stateUnknown = "unknown"
)

// Who drives a reader, as control.Reader.Driver has it.
const (
	driverCCID = "ccid"
	driverPCSC = "pcsc"
)

// pcscTime bounds a question to pcscd.
const pcscTime = 5 * time.Second

// PCSC lists the readers of pcscd, none where it does not run. It is not asked to start: systemd starts it for whoever
// connects to its socket, and it would take the USB readers.
func PCSC(ctx context.Context) ([]control.Reader, error) {
	if len(processes("/proc", "pcscd")) == 0 {
		return nil, nil
	}
	return askPCSC(ctx, pcsc.Config{Timeout: pcscTime, Log: slog.New(slog.DiscardHandler)})
}

func askPCSC(ctx context.Context, cfg pcsc.Config) ([]control.Reader, error) {
	states, err := pcsc.States(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("readers of pcscd: %w", err)
	}
	var list []control.Reader
	for _, s := range states {
		slot := control.ReaderSlot{State: stateEmpty, Config: configLine("pcsc:" + s.Name)}
		if s.Present {
			slot.State = stateCard
			setATR(&slot, s.ATR)
		}
		list = append(list, control.Reader{Name: s.Name, Driver: driverPCSC, Slots: []control.ReaderSlot{slot}})
	}
	return list, nil
}

func setATR(s *control.ReaderSlot, atr []byte) {
	if len(atr) > 0 {
		s.ATR, s.Card = fmt.Sprintf("%X", atr), DecodeATR(atr)
	}
}

// configLine is the line of a [[card]] that names a reader.
func configLine(reader string) string { return fmt.Sprintf("reader = %q", reader) }

// processes are the ids of the processes of this name.
func processes(proc, name string) []string {
	var ids []string
	files, _ := filepath.Glob(filepath.Join(proc, "[0-9]*", "comm"))
	for _, f := range files {
		if comm, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(comm)) == name {
			ids = append(ids, filepath.Base(filepath.Dir(f)))
		}
	}
	return ids
}
