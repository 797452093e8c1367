package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bipd/cat"
	"bipd/internal/control"
)

// smsFlags are the flags of sms-pp as they were given.
type smsFlags struct {
	tpdu, from, centre, pid, dcs, udh, data, text string
}

func smsppCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "sms-pp", Short: "Hand the card a short message (SMS-PP download)", Args: cobra.NoArgs,
		Long: `sms-pp hands the card a short message in an SMS-PP DOWNLOAD envelope, as the network
does to start most OTA sessions, and shows what the card answers. The message is a
whole SMS-DELIVER (--tpdu), or is built from the other flags. A response packet
(proof of receipt) is taken apart.`,
		Example: "  bipctl sms-pp --udh 027000 --data 001d150621...\n  bipctl sms-pp --dcs 00 --pid 00 --text hello",
	}
	on := addCardFlags(cmd)
	var f smsFlags
	cmd.Flags().StringVar(&f.tpdu, "tpdu", "", "SMS-DELIVER, hex; in place of all others but --centre")
	cmd.Flags().StringVar(&f.centre, "centre", "", "service centre's number; a test number where left out")
	cmd.Flags().StringVar(&f.from, "from", "+447700900001", "number of the sender")
	cmd.Flags().StringVar(&f.pid, "pid", "7F", "protocol identifier, hex; 7F = (U)SIM data download")
	cmd.Flags().StringVar(&f.dcs, "dcs", "F6", "data coding scheme, hex; F6 = 8-bit data for the card")
	cmd.Flags().StringVar(&f.udh, "udh", "", "user data header, hex, with its length: 027000 = command packet")
	cmd.Flags().StringVar(&f.data, "data", "", "user data behind the header, hex")
	cmd.Flags().StringVar(&f.text, "text", "", "text, coded as --dcs says, in place of --data")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		built := []string{"from", "pid", "dcs", "udh", "data", "text"}
		for _, name := range built {
			if f.tpdu != "" && cmd.Flags().Changed(name) {
				return fmt.Errorf("--tpdu is the whole message: --%s does not go with it", name)
			}
		}
		tpdu, err := f.build(time.Now())
		if err != nil {
			return err
		}
		return on.act(cmd.Context(), func(ctx context.Context, c *control.Client, card string) error {
			r, err := c.DownloadSMS(ctx, card, control.SMS{Centre: f.centre, TPDU: hex.EncodeToString(tpdu)})
			if err != nil {
				return err
			}
			err = showReply(os.Stdout, r)
			showResponsePacket(os.Stdout, r.Data)
			return err
		})
	}
	return cmd
}

// build makes the SMS-DELIVER of the flags.
func (f smsFlags) build(at time.Time) ([]byte, error) {
	if f.tpdu != "" {
		return hexFlag("tpdu", f.tpdu)
	}
	from, err := cat.NewAddress(f.from)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	pid, err := octetFlag("pid", f.pid)
	if err != nil {
		return nil, err
	}
	dcs, err := octetFlag("dcs", f.dcs)
	if err != nil {
		return nil, err
	}
	d := cat.Deliver{From: from, PID: pid, DCS: dcs, Time: at, Text: f.text}
	if f.data != "" {
		if d.Data, err = hexFlag("data", f.data); err != nil {
			return nil, err
		}
	}
	if f.udh != "" {
		header, err := hexFlag("udh", f.udh)
		if err != nil {
			return nil, err
		}
		if int(header[0]) != len(header)-1 {
			return nil, fmt.Errorf("--udh: its first octet says %d more, there are %d", header[0], len(header)-1)
		}
		d.Header = header[1:]
	}
	if d.Data == nil && d.Text == "" && d.Header == nil {
		return nil, errors.New("nothing to say: --data, --text, --udh or --tpdu is needed")
	}
	return d.TPDU()
}

func hexFlag(name, s string) ([]byte, error) {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", name, err)
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("--%s: no octets", name)
	}
	return b, nil
}

func octetFlag(name, s string) (byte, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 8)
	if err != nil {
		return 0, fmt.Errorf("--%s: %q is not two hex digits", name, s)
	}
	return byte(n), nil
}

// showResponsePacket takes a proof of receipt apart; it says nothing about any other data.
func showResponsePacket(w io.Writer, data string) {
	b, err := hex.DecodeString(data)
	if err != nil {
		return
	}
	p, err := cat.ParseResponsePacket(b)
	if err != nil {
		return
	}
	fmt.Fprintf(w, "response packet\n  TAR       %X\n  counter   %X\n  padding   %d\n  status    %02X  %s\n", p.TAR, p.Counter, p.Padding, p.Status, p.StatusText())
	if len(p.Checksum) > 0 {
		fmt.Fprintf(w, "  checksum  %X\n", p.Checksum)
	}
	if len(p.Data) > 0 {
		fmt.Fprintf(w, "  data      %X\n", p.Data)
	}
}
