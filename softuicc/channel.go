package softuicc

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"bipd/cat"
)

// MaxSend is the number of data octets that the toolkit puts into one SEND DATA, as real cards do.
const MaxSend = 229

// maxReceive is the number of data octets that fit the response to one RECEIVE DATA (ETSI TS 102 223 clause 6.8).
const maxReceive = 237

// ResultError is a command that the terminal did not perform.
type ResultError struct {
	Command cat.CommandType
	Result  cat.Result
}

func (e *ResultError) Error() string {
	return fmt.Sprintf("softuicc: %v: %v", e.Command, e.Result)
}

// Opened is what the terminal granted to an OPEN CHANNEL.
type Opened struct {
	Status     cat.ChannelStatus
	BufferSize int
	DNS        []netip.Addr // answered to a DNS server address request
	Modified   bool         // result 07
}

// OpenChannel opens a channel. Qualifier: cat.OpenImmediate, cat.OpenBackground, ... A refusal is a *ResultError.
func (tk *Toolkit) OpenChannel(ctx context.Context, body *cat.OpenChannel, qualifier byte) (Opened, error) {
	return tk.openChannel(ctx, body, qualifier, func(Opened) {})
}

// openChannel tells then of a success before the card answers the TERMINAL RESPONSE, so that no event is too early.
func (tk *Toolkit) openChannel(ctx context.Context, body *cat.OpenChannel, qualifier byte, then func(Opened)) (Opened, error) {
	var o Opened
	var failure error
	w, err := tk.exchange(ctx, cat.NewCommand(0, qualifier, body).Append(nil), true, func(response []byte) {
		if o, failure = readOpened(response); failure == nil {
			then(o)
		}
	})
	if err != nil {
		return Opened{}, err
	}
	w.release()
	return o, failure
}

func readOpened(response []byte) (Opened, error) {
	var l objects
	var o Opened
	if err := l.success(response, cat.TypeOpenChannel); err != nil {
		return o, err
	}
	result, _ := l.find(tagResult)
	o.Modified = result[0] == byte(cat.ResultModified)
	status, ok := l.find(tagChannelStatus)
	if !ok || len(status) != 2 || status[0]&7 == 0 {
		return o, fmt.Errorf("softuicc: OPEN CHANNEL performed, but no channel named")
	}
	o.Status = readStatus(status)
	if v, ok := l.find(tagBufferSize); ok && len(v) == 2 {
		o.BufferSize = int(binary.BigEndian.Uint16(v))
	}
	for _, t := range l.all() {
		if t.tag == tagDNSServer && len(t.value) > 1 {
			if a, ok := netip.AddrFromSlice(slices.Clone(t.value[1:])); ok {
				o.DNS = append(o.DNS, a)
			}
		}
	}
	return o, nil
}

func readStatus(v []byte) cat.ChannelStatus {
	return cat.ChannelStatus{Channel: int(v[0] & 7), Link: cat.LinkState(v[0] & 0xC0), Info: v[1]}
}

// success reads a response; a result of 10 and more is an error.
func (l *objects) success(response []byte, t cat.CommandType) error {
	if err := l.read(response); err != nil {
		return fmt.Errorf("softuicc: response to %v: %w", t, err)
	}
	r, ok := l.find(tagResult)
	if !ok || len(r) == 0 {
		return fmt.Errorf("softuicc: response to %v without result", t)
	}
	if r[0] >= 0x10 {
		return &ResultError{t, cat.Result{General: cat.GeneralResult(r[0]), Info: slices.Clone(r[1:])}}
	}
	return nil
}

// channelCommand spells a command with number 00 and one object, or none for tag 0.
func channelCommand(t cat.CommandType, qualifier byte, device cat.DeviceID, tag byte, value []byte) []byte {
	n := 9
	if tag != 0 {
		n += 2 + len(value)
		if len(value) > 0x7F {
			n++
		}
	}
	b := append(make([]byte, 0, n+3), 0xD0)
	if n > 0x7F {
		b = append(b, 0x81)
	}
	b = append(b, byte(n), 0x81, 0x03, 0x00, byte(t), qualifier, 0x82, 0x02, byte(cat.DeviceUICC), byte(device))
	if tag != 0 {
		b = appendTLV(b, tag, value)
	}
	return b
}

// SendData hands at most MaxSend octets to a channel, to be stored or sent at once with all that is stored. It returns
// the octets free in the terminal's Tx buffer, 255 for more than that.
func (tk *Toolkit) SendData(ctx context.Context, channel int, data []byte, immediately bool) (free int, err error) {
	var qualifier byte
	if immediately {
		qualifier = cat.SendImmediately
	}
	w, err := tk.exchange(ctx, channelCommand(cat.TypeSendData, qualifier, cat.DeviceChannel(channel), 0x80|tagData, data), true, nil)
	if err != nil {
		return 0, err
	}
	defer w.release()
	var l objects
	if err := l.success(w.response, cat.TypeSendData); err != nil {
		return 0, err
	}
	return l.dataLength()
}

// ReceiveData asks for len(p) octets of received data, at most 255. It returns how many came and how many wait, 255 for
// more than that. A terminal gives what it has, even none, and at most 237 octets.
func (tk *Toolkit) ReceiveData(ctx context.Context, channel int, p []byte) (n, remaining int, err error) {
	if len(p) > 0xFF {
		return 0, 0, fmt.Errorf("softuicc: RECEIVE DATA of %d octets, at most 255 can be asked for", len(p))
	}
	w, err := tk.exchange(ctx, receiveCommand(channel, byte(len(p))), true, nil)
	if err != nil {
		return 0, 0, err
	}
	defer w.release()
	var l objects
	if err := l.success(w.response, cat.TypeReceiveData); err != nil {
		return 0, 0, err
	}
	data, remaining, err := l.received()
	if err == nil && len(data) > len(p) {
		err = fmt.Errorf("softuicc: RECEIVE DATA of %d octets brought %d", len(p), len(data))
	}
	return copy(p, data), remaining, err
}

func receiveCommand(channel int, n byte) []byte {
	return channelCommand(cat.TypeReceiveData, 0, cat.DeviceChannel(channel), 0x80|tagDataLength, []byte{n})
}

// CloseChannel closes a channel. Qualifier: 0 or cat.CloseUpkeep.
func (tk *Toolkit) CloseChannel(ctx context.Context, channel int, qualifier byte) error {
	w, err := tk.exchange(ctx, channelCommand(cat.TypeCloseChannel, qualifier, cat.DeviceChannel(channel), 0, nil), true, nil)
	if err != nil {
		return err
	}
	defer w.release()
	var l objects
	return l.success(w.response, cat.TypeCloseChannel)
}

// GetChannelStatus asks for the state of the channels; the terminal that has none open says so with channel 0.
func (tk *Toolkit) GetChannelStatus(ctx context.Context) ([]cat.ChannelStatus, error) {
	w, err := tk.exchange(ctx, channelCommand(cat.TypeGetChannelStatus, 0, cat.DeviceTerminal, 0, nil), true, nil)
	if err != nil {
		return nil, err
	}
	defer w.release()
	var l objects
	if err := l.success(w.response, cat.TypeGetChannelStatus); err != nil {
		return nil, err
	}
	var list []cat.ChannelStatus
	for _, t := range l.all() {
		if t.tag == tagChannelStatus && len(t.value) == 2 {
			list = append(list, readStatus(t.value))
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("softuicc: GET CHANNEL STATUS performed without a channel status")
	}
	return list, nil
}

func (l *objects) dataLength() (int, error) {
	v, ok := l.find(tagDataLength)
	if !ok || len(v) != 1 {
		return 0, fmt.Errorf("softuicc: response without channel data length")
	}
	return int(v[0]), nil
}

func (l *objects) received() (data []byte, remaining int, err error) {
	data, ok := l.find(tagData)
	if !ok {
		return nil, 0, fmt.Errorf("softuicc: response without channel data")
	}
	remaining, err = l.dataLength()
	return data, remaining, err
}
