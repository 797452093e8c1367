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

// actTime bounds what a card is asked to do: it may be busy with another command.
const actTime = 60 * time.Second

// cardFlags are the flags of the commands that act on a card.
type cardFlags struct{ socket, card *string }

func addCardFlags(cmd *cobra.Command) cardFlags {
	return cardFlags{socketFlag(cmd), cmd.Flags().String("card", "", "name of the card; may be left out where there is one")}
}

// act runs f with a client of the daemon and the name of the card.
func (f cardFlags) act(ctx context.Context, do func(context.Context, *control.Client, string) error) error {
	ctx, cancel := context.WithTimeout(ctx, actTime)
	defer cancel()
	c := control.NewClient(*f.socket)
	defer c.Close()
	name := *f.card
	if name == "" {
		cards, err := c.Cards(ctx)
		if err != nil {
			return err
		}
		if len(cards) != 1 {
			return fmt.Errorf("there are %d cards: name one with --card", len(cards))
		}
		name = cards[0].Name
	}
	return do(ctx, c, name)
}

// showReply prints what the card answered; an answer that is no success is the command's failure.
func showReply(w io.Writer, r control.Reply) error {
	fmt.Fprintf(w, "status    %s  %s\n", r.SW, r.Meaning)
	if r.Data != "" {
		fmt.Fprintf(w, "response  %s\n", r.Data)
	}
	switch {
	case r.SW == "9000", strings.HasPrefix(r.SW, "91"), strings.HasPrefix(r.SW, "62"), strings.HasPrefix(r.SW, "63"), strings.HasPrefix(r.SW, "920"):
		return nil
	}
	return fmt.Errorf("the card answered %s: %s", r.SW, r.Meaning)
}

func menuCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "menu", Short: "Show the card's menu, or choose from it", Args: cobra.NoArgs,
		Long: `menu shows what the card has set up with SET UP MENU. With --select the card is
told that an item was chosen, as if a user had done so; with --help-request, that
the user wants help about it.`,
	}
	on := addCardFlags(cmd)
	item := cmd.Flags().Uint8("select", 0, "identifier of the item to choose")
	help := cmd.Flags().Bool("help-request", false, "ask for help about the item")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *item == 0 && (*help || cmd.Flags().Changed("select")) {
			return errors.New("--select needs the identifier of an item, 1 to 255")
		}
		return on.act(cmd.Context(), func(ctx context.Context, c *control.Client, card string) error {
			if *item == 0 {
				m, err := c.Menu(ctx, card)
				if err != nil {
					return err
				}
				showMenu(os.Stdout, m)
				return nil
			}
			r, err := c.SelectItem(ctx, card, control.Selection{ID: *item, Help: *help})
			if err != nil {
				return err
			}
			return showReply(os.Stdout, r)
		})
	}
	return cmd
}

func showMenu(w io.Writer, m control.Menu) {
	if len(m.Items) == 0 {
		fmt.Fprintln(w, "the card has no menu")
		return
	}
	fmt.Fprintln(w, printable(m.Title))
	for _, i := range m.Items {
		fmt.Fprintf(w, "%5d  %s\n", i.ID, printable(i.Text))
	}
	if m.Help {
		fmt.Fprintln(w, "the card has help about the items: --help-request")
	}
}

// printable keeps what a card says from steering the operator's terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

var locationStates = map[string]byte{"normal": cat.LocationNormal, "limited": cat.LocationLimited, "none": cat.LocationNoService}

func eventCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "event", Short: "Tell the card of an event", Args: cobra.NoArgs,
		Long: `event tells the card of an event that it has subscribed to by SET UP EVENT LIST:
the location status, or any event by its code with the objects that its clause in
ETSI TS 102 223 wants behind the device identities.`,
		Example: "  bipctl event --location-status limited\n  bipctl event --code 07 --objects 2D026465",
	}
	on := addCardFlags(cmd)
	status := cmd.Flags().String("location-status", "", "normal, limited or none")
	location := cmd.Flags().String("location", "", "location information in hex, with normal service")
	code := cmd.Flags().String("code", "", "code of the event, two hex digits")
	objects := cmd.Flags().String("objects", "", "COMPREHENSION-TLVs, hex")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		e, err := cardEvent(*status, *location, *code, *objects)
		if err != nil {
			return err
		}
		return on.act(cmd.Context(), func(ctx context.Context, c *control.Client, card string) error {
			r, err := c.SendEvent(ctx, card, e)
			if err != nil {
				return err
			}
			return showReply(os.Stdout, r)
		})
	}
	return cmd
}

// cardEvent makes the event of the flags.
func cardEvent(status, location, code, objects string) (control.CardEvent, error) {
	if (status == "") == (code == "") {
		return control.CardEvent{}, errors.New("one of --location-status and --code is needed")
	}
	if code != "" {
		if location != "" {
			return control.CardEvent{}, errors.New("--location goes with --location-status")
		}
		n, err := strconv.ParseUint(strings.TrimPrefix(code, "0x"), 16, 8)
		if err != nil {
			return control.CardEvent{}, fmt.Errorf("--code: %q is not two hex digits", code)
		}
		return control.CardEvent{Code: byte(n), Objects: objects}, nil
	}
	s, ok := locationStates[status]
	if !ok || objects != "" {
		return control.CardEvent{}, fmt.Errorf("--location-status is normal, limited or none, without --objects: %q", status)
	}
	info, err := hex.DecodeString(location)
	if err != nil || (s == cat.LocationNormal) != (len(info) > 0) {
		return control.CardEvent{}, errors.New("--location: location information in hex goes with normal service, and only then")
	}
	b := cat.AppendTLVs(nil, cat.LocationStatusEvent(s, info).Objects[2:]) // behind event and device identities
	return control.CardEvent{Code: byte(cat.EventLocationStatus), Objects: hex.EncodeToString(b)}, nil
}

func apduCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "apdu <hex> | -", Short: "Send the card a raw command APDU, where bipd.toml allows it", Args: cobra.MinimumNArgs(1),
		Long: `apdu sends the card a raw command APDU between two proactive commands and shows the
response. It needs control.allow_apdu in bipd.toml. What it changes in the card,
the selected file for one, stays changed. With - in place of the APDU it is read from
standard input: keys and PINs in arguments can be seen by every user of the machine.`,
		Example: "  bipctl apdu 00A40004023F00\n  bipctl apdu - < verify.hex",
	}
	on := addCardFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		apdu := strings.Join(args, "")
		if apdu == "-" {
			var err error
			if apdu, err = readHex(cmd.InOrStdin()); err != nil {
				return err
			}
		}
		return on.act(cmd.Context(), func(ctx context.Context, c *control.Client, card string) error {
			r, err := c.Transmit(ctx, card, control.APDU{APDU: apdu})
			if err != nil {
				return err
			}
			return showReply(os.Stdout, r)
		})
	}
	return cmd
}

// maxHex is more than an extended APDU takes in hex with blanks between the octets.
const maxHex = 1 << 18

// readHex reads hex to its end, without the blanks and line ends in it.
func readHex(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxHex+1))
	if err != nil {
		return "", fmt.Errorf("standard input: %w", err)
	}
	text := strings.Join(strings.Fields(string(b)), "")
	switch {
	case len(b) > maxHex:
		return "", errors.New("standard input has more than an APDU")
	case text == "":
		return "", errors.New("standard input has no APDU")
	}
	return text, nil
}
