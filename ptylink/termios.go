package ptylink

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// control runs f on the descriptor. It takes the place of File.Fd, which would make the file blocking and its deadlines
// void.
func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if cerr := raw.Control(func(fd uintptr) { err = do(int(fd)) }); cerr != nil {
		return os.ErrClosed // all that fails there, and not as os.ErrClosed
	}
	return err
}

// bauds are the speeds in bit/s that termios has constants for and serial ports of the kind here have.
var bauds = map[int]uint32{
	1200: unix.B1200, 2400: unix.B2400, 4800: unix.B4800, 9600: unix.B9600, 19200: unix.B19200, 38400: unix.B38400,
	57600: unix.B57600, 115200: unix.B115200, 230400: unix.B230400, 460800: unix.B460800, 500000: unix.B500000,
	576000: unix.B576000, 921600: unix.B921600, 1000000: unix.B1000000, 1152000: unix.B1152000, 1500000: unix.B1500000,
	2000000: unix.B2000000, 2500000: unix.B2500000, 3000000: unix.B3000000, 3500000: unix.B3500000, 4000000: unix.B4000000,
}

// CheckSpeed is an error for a speed in bit/s that OpenTTY does not take.
func CheckSpeed(speed int) error {
	if _, ok := bauds[speed]; !ok {
		return fmt.Errorf("speed: %d bit/s is none of %d", speed, slices.Sorted(maps.Keys(bauds)))
	}
	return nil
}

// setRaw makes the terminal pass every octet as it is, 8 bits without parity. speed 0 leaves the speed; rtscts is flow
// control by RTS and CTS.
func setRaw(fd, speed int, rtscts bool) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("not a terminal: %w", err)
	}
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON |
		unix.IXOFF | unix.IXANY | unix.INPCK
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag &^= unix.CSIZE | unix.PARENB | unix.CSTOPB | unix.CRTSCTS
	t.Cflag |= unix.CS8 | unix.CREAD | unix.CLOCAL // no modem line but RTS and CTS counts
	if rtscts {
		t.Cflag |= unix.CRTSCTS
	}
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if speed != 0 {
		if err := CheckSpeed(speed); err != nil {
			return err
		}
		baud := bauds[speed]
		t.Cflag = t.Cflag&^unix.CBAUD | baud
		t.Ispeed, t.Ospeed = baud, baud
	}
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}
