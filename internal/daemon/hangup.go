package daemon

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// IgnoreHangup keeps SIGHUP from ending the process, for a daemon that ends by it leaves the links of its lines behind. Each
// SIGHUP is logged; the configuration is read at the start only. It is not signal.Ignore, which the programs that a daemon
// starts would inherit.
func IgnoreHangup(log *slog.Logger) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		for range hangups {
			log.Info("SIGHUP is ignored: a restart reads the configuration anew")
		}
	}()
}
