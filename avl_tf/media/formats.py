"""Which of FFmpeg's file formats are read, and why the others are not.

A list of what is allowed: a file is opened by what it holds, whatever its name says,
and some of what FFmpeg knows are lists of other files and addresses, which it would
open, scripts, devices, texts that it draws, and the insides of games.
"""

# Names of FFmpeg's demuxers; one of a family's names stands for all of them.
_CONTAINERS = (
    "asf asf_o avi dhav dv flv gxf ivf ivr kux live_flv lxf matroska mov mpeg "
    "mpegts mxf nsv nut nuv ogg pva rm ty webm wtv yuv4mpegpipe"
)
_ELEMENTARY_VIDEO = (
    "apv av1 avs2 avs3 cavsvideo dirac dnxhd evc h261 h263 h264 hevc ipu m4v mjpeg "
    "mjpeg_2000 mpegvideo mpjpeg obu vc1 vc1test vvc"
)
_SOUND = (
    "aa aac ac3 ac4 act adx aea aiff amr amrnb amrwb ape aptx aptx_hd ast au avr bonk "
    "caf codec2 dsf dss dts dtshd eac3 flac g722 g723_1 g726 g726le g728 g729 gsm iamf "
    "iff ilbc ircam lc3 loas mca mlp mp3 mpc mpc8 nistsphere oma osq paf pvf qcp qoa "
    "rka rso sbc sds sdx shn sln sox spdif tak tta truehd voc vqf w64 wav wsd wv xwma"
)
_PICTURES = (
    "apng bmp_pipe dds_pipe dpx_pipe exr_pipe gif gif_pipe hdr_pipe ico j2k_pipe "
    "jpeg_pipe jpegls_pipe jpegxl_anim jpegxl_pipe jpegxs_pipe pam_pipe pbm_pipe "
    "pcx_pipe pfm_pipe pgm_pipe pgmyuv_pipe pgx_pipe phm_pipe png_pipe ppm_pipe "
    "psd_pipe qoi_pipe sgi_pipe sunrast_pipe tiff_pipe webp_pipe xbm_pipe xpm_pipe "
    "xwd_pipe"
)
READ = frozenset(" ".join([_CONTAINERS, _ELEMENTARY_VIDEO, _SOUND, _PICTURES]).split())

# FFmpeg's formats of one picture, or of several in a row without times.
PICTURES = "_pipe"

# Takes a file by the end of its name alone, a % in it for the place of a number.
NUMBERED = "image2"

# Lists of other files, of addresses, or of where a stream is sent.
_PLAYLISTS = frozenset(
    "concat dash hds hls imf rtp rtsp sap sdp smoothstreaming vobsub "
    "webm_dash_manifest".split()
)


def refusal(name: str) -> str:
    """Says what is wrong with a file of a format that is not READ."""
    if name in _PLAYLISTS:
        return f"a playlist ({name}) that names other files, expected a media file"
    return f"neither audio nor video in it that can be read ({name})"
