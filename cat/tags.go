package cat

// Tags of the data objects (clause 9.3).
const (
	TagCommandDetails    Tag = 0x01
	TagDeviceIdentities  Tag = 0x02
	TagResult            Tag = 0x03
	TagDuration          Tag = 0x04
	TagAlphaIdentifier   Tag = 0x05
	TagAddress           Tag = 0x06
	TagSubaddress        Tag = 0x08
	TagSMSTPDU           Tag = 0x0B
	TagTextString        Tag = 0x0D
	TagItem              Tag = 0x0F
	TagItemIdentifier    Tag = 0x10
	TagFileList          Tag = 0x12
	TagLocationInfo      Tag = 0x13
	TagIMEI              Tag = 0x14
	TagHelpRequest       Tag = 0x15
	TagItemsNextAction   Tag = 0x18
	TagEventList         Tag = 0x19
	TagLocationStatus    Tag = 0x1B
	TagIconIdentifier    Tag = 0x1E
	TagItemIconList      Tag = 0x1F
	TagTimerIdentifier   Tag = 0x24
	TagTimerValue        Tag = 0x25
	TagDateTimeZone      Tag = 0x26
	TagImmediateResponse Tag = 0x2B
	TagLanguage          Tag = 0x2D
	TagAID               Tag = 0x2F
	TagBearerDescription Tag = 0x35
	TagChannelData       Tag = 0x36
	TagChannelDataLength Tag = 0x37
	TagChannelStatus     Tag = 0x38
	TagBufferSize        Tag = 0x39
	TagTransportLevel    Tag = 0x3C
	TagOtherAddress      Tag = 0x3E
	TagAccessTechnology  Tag = 0x3F
	TagDNSServerAddress  Tag = 0x40 // display parameters elsewhere
	TagNetworkAccessName Tag = 0x47
	TagTextAttribute     Tag = 0x50

	TagItemTextAttributes Tag = 0x51

	TagIMEISV           Tag = 0x62
	TagFrameIdentifier  Tag = 0x68
	TagUpdateAttachType Tag = 0x74
	TagRejectionCause   Tag = 0x75
	TagTrackingAreaID   Tag = 0x7D
)

// Tags of the BER-TLV templates (ETSI TS 101 220 clause 7.2).
const (
	templateProactive       = 0xD0
	templateSMSPPDownload   = 0xD1
	templateMenuSelection   = 0xD3
	templateEventDownload   = 0xD6
	templateTimerExpiration = 0xD7
)
