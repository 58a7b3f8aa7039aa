"""Copies that are planned, copies of homes, and what operators say about layers."""

from alembic import op
import sqlalchemy as sa


revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('layer_orders',
    sa.Column('digest', sa.String(length=71), nullable=False),
    sa.Column('box_id', sa.String(length=64), nullable=False),
    sa.Column('wanted', sa.String(length=16), nullable=False),
    sa.Column('blobs', sa.JSON(), nullable=False),
    sa.Column('version', sa.BigInteger(), nullable=False),
    sa.Column('user_id', sa.String(length=64), nullable=True),
    sa.Column('at', sa.Float(), nullable=False),
    sa.ForeignKeyConstraint(['box_id'], ['boxes.id'], name=op.f('fk_layer_orders_box_id_boxes')),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_layer_orders_user_id_users')),
    sa.PrimaryKeyConstraint('digest', 'box_id', name=op.f('pk_layer_orders'))
    )
    with op.batch_alter_table('fileset_copies', schema=None) as batch_op:
        batch_op.add_column(sa.Column('planned', sa.Boolean(), server_default='0', nullable=False))
        batch_op.add_column(sa.Column('asked_at', sa.Double(), server_default='0', nullable=False))
        batch_op.add_column(sa.Column('follows', sa.Boolean(), server_default='0', nullable=False))
        batch_op.add_column(sa.Column('copied_at', sa.Double(), nullable=True))

    with op.batch_alter_table('image_holdings', schema=None) as batch_op:
        batch_op.add_column(sa.Column('planned', sa.Boolean(), server_default='0', nullable=False))
        batch_op.add_column(sa.Column('asked_at', sa.Double(), server_default='0', nullable=False))
        batch_op.alter_column('version', existing_type=sa.Integer(), type_=sa.BigInteger())



def downgrade() -> None:
    with op.batch_alter_table('image_holdings', schema=None) as batch_op:
        batch_op.alter_column('version', existing_type=sa.BigInteger(), type_=sa.Integer())
        batch_op.drop_column('asked_at')
        batch_op.drop_column('planned')

    with op.batch_alter_table('fileset_copies', schema=None) as batch_op:
        batch_op.drop_column('copied_at')
        batch_op.drop_column('follows')
        batch_op.drop_column('asked_at')
        batch_op.drop_column('planned')

    op.drop_table('layer_orders')
